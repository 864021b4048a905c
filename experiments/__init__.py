"""Entry points with absl flags; the only owner of flags and of the command line."""
