"""Names of what attacking clients do. Needs no TensorFlow."""

from collections.abc import Mapping

NONE = "none"
LABEL_FLIP, BACKDOOR = "label_flip", "backdoor"
SIGN_FLIP, SCALING, ALIE = "sign_flip", "scaling", "alie"
ATTACKS = (NONE, LABEL_FLIP, SIGN_FLIP, SCALING, ALIE, BACKDOOR)
# They change what an attacker trains on, and need labels.
ON_DATA = (LABEL_FLIP, BACKDOOR)
# They change what an attacker sends.
ON_UPDATES = (SIGN_FLIP, SCALING, BACKDOOR)
# The default factors, or the number of deviations.
SCALES: Mapping[str, float] = {SIGN_FLIP: 1.0, SCALING: 10.0, ALIE: 1.5, BACKDOOR: 1.0}
