"""Whole runs as function calls, for the scripts, for notebooks and for other programs."""
