"""Partitions and their manifests, the token cache, ClientData, cohorts."""
