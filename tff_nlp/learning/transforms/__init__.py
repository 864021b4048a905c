"""Transforms of a gradient before the optimizer gets it, one file each."""
