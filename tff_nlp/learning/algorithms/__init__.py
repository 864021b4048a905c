"""Federated algorithms. Each file has one function, which returns a process."""
