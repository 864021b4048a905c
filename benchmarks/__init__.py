"""Measurements of speed and memory, compared with other implementations of the same work."""
