"""Flags from the configs of a run, and paths in flags."""
