"""Mechanisms, accounting, the contract check, empirical audit."""
