"""The masked secure sum of Bonawitz et al. 2017, as client and server halves that exchange bytes.

docs/secure_aggregation.md describes the steps. `simulation` runs all parties in one process.
"""
