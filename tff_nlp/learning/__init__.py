"""One round as TFF computations: client update, server update, the algorithms."""
