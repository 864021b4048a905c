"""Federated algorithms: a function and a file each, which returns a process."""
