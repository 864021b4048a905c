"""Texts with labels and authors: readers of file formats, named corpora, a synthetic corpus."""
