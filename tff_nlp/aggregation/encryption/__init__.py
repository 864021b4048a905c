"""Sums of updates that the server adds up without reading them, by homomorphic encryption."""
