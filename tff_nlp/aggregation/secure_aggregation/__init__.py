"""The masked secure sum of Bonawitz et al. 2017, as client and server halves that exchange bytes.

docs/secure_aggregation.md describes it step by step; `simulation` runs it in one process.
"""
