"""Encoders, where their weights come from, and the classifiers built on them."""
