"""Exports models that take texts, and predicts with them."""
