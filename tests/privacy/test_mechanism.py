"""Mechanisms check their own values, in scripts and in Python."""

import math

import pytest

from tff_nlp.errors import UserError
from tff_nlp.privacy import guarantee, mechanism


@pytest.mark.parametrize(
    ("changes", "flag"),
    [
        ({"name": "laplace"}, "dp=laplace"),
        ({"noise_multiplier": -1.0}, "noise_multiplier=-1"),
        ({"noise_multiplier": math.nan}, "noise_multiplier=nan"),
        ({"clients_per_round": 0}, "clients_per_round=0"),
        ({"clipping_norm": math.inf}, "clipping_norm=inf"),
        ({"restart_every": 0}, "restart_every=0"),
    ],
)
def test_values_out_of_range_name_the_flag(changes, flag):
    good = {"name": guarantee.GAUSSIAN, "noise_multiplier": 1.0, "clients_per_round": 10}
    with pytest.raises(UserError, match=flag):
        mechanism.Mechanism(**good | changes)
