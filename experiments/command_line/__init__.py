"""The start, the end and the help text of every script."""
