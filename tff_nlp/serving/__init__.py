"""Saved models that take texts, and prediction with them."""
