"""The names of the ways to send fewer bytes. This file needs no TensorFlow."""

NONE, TOP_K, RANDOM_K, POWER_SGD, SIGNS = "none", "top_k", "random_k", "power_sgd", "signs"
COMPRESSIONS = (NONE, TOP_K, RANDOM_K, POWER_SGD, SIGNS)
# Those that send some of the numbers only, and the fraction that they send by default.
FRACTIONS = {TOP_K: 0.01, RANDOM_K: 0.1}
# Those whose expected result is not the update, so that clients keep the error.
BIASED = (TOP_K, POWER_SGD, SIGNS)
# Those that send float32 numbers, which can be rounded.
WITH_FLOATS = (TOP_K, RANDOM_K, POWER_SGD)
