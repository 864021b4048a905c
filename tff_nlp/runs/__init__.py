"""Whole runs, by calls: what the scripts do is here for a notebook and for a program."""
