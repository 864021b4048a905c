"""The HTTP service of trained classifiers: a supervisor, and workers that answer requests."""
