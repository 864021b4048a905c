"""Tasks: what a model is trained for. Each task is one file."""
