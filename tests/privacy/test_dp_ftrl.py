"""Sensitivities and epsilons of trees against published values, brute force and TF-Privacy."""

import itertools
import random

import dp_accounting as dpa
import pytest

from tff_nlp.errors import UserError
from tff_nlp.privacy import accounting, dp_ftrl
from tff_nlp.privacy.dp_ftrl import Participation, squared_sensitivity


@pytest.mark.parametrize(
    ("participations", "separation", "rounds", "expected"),
    [
        (1, 7, 8, 4),
        (3, 3, 9, 11),
        (3, 2, 7, 9),
        (8, 2, 24, 88),  # The greedy schedule of Kairouz et al. 2021 gives less here.
    ],
)
def test_published_sensitivities(participations, separation, rounds, expected):
    assert squared_sensitivity(Participation(participations, separation), rounds) == expected


def nodes_of(rounds, restart_every):
    """Yields (start, end) of every complete node of the trees, with or without restarts."""
    tree = restart_every or rounds
    for start in range(0, rounds, tree):
        leaves = min(tree, rounds - start)
        for height in range(leaves.bit_length()):
            size = 2**height
            for index in range(leaves // size):
                yield start + index * size, start + (index + 1) * size


def by_brute_force(participations, separation, rounds, restart_every):
    nodes = list(nodes_of(rounds, restart_every))
    best = 0
    for count in range(1, participations + 1):
        for schedule in itertools.combinations(range(rounds), count):
            if all(b - a > separation for a, b in itertools.pairwise(schedule)):
                counts = (sum(start <= t < end for t in schedule) for start, end in nodes)
                best = max(best, sum(below**2 for below in counts))
    return best


def test_sensitivity_equals_brute_force():
    choose = random.Random(1)
    for _ in range(120):
        rounds, most = choose.randint(1, 14), choose.randint(1, 4)
        separation, restart = choose.randint(0, 5), choose.choice([None, 1, 3, 4, 5, 8, 20])
        found = squared_sensitivity(Participation(most, separation), rounds, restart)
        case = (most, separation, rounds, restart)
        assert found == by_brute_force(most, separation, rounds, restart), case


def test_sensitivity_equals_tf_privacy():
    oracle = pytest.importorskip(
        "tensorflow_privacy.privacy.analysis.tree_aggregation_accountant"
    )._max_tree_sensitivity_square_sum
    choose = random.Random(2)
    for _ in range(60):
        rounds, most, separation = (
            choose.randint(1, 70),
            choose.randint(1, 9),
            choose.randint(0, 9),
        )
        found = squared_sensitivity(Participation(most, separation), rounds)
        assert found == oracle(most, separation, rounds), (most, separation, rounds)


def test_taking_part_always_counts_every_node():
    for rounds in (3, 8, 11, 19):
        expected = sum(
            2**height * (2 ** (height + 1) - 1)
            for height in range(rounds.bit_length())
            if rounds >> height & 1
        )
        assert squared_sensitivity(Participation(10**6, 0), rounds) == expected


def test_a_real_run_takes_seconds():
    # StackOverflow in Choquette-Choo et al. 2023: 2052 rounds, 6 participations, 342 apart.
    assert squared_sensitivity(Participation(6, 341), 2052) >= 6 * 11


def test_restarting_every_round_is_plain_composition():
    assert squared_sensitivity(Participation(10, 0), 100, restart_every=1) == 10


def test_stackoverflow_in_one_tree():
    # Kairouz et al. 2021: 1600 rounds, each client once, delta 1e-6.
    squared = squared_sensitivity(Participation(1, 0), 1600)
    assert squared == 11
    grid = accounting.FINE_ORDERS
    for noise, below, classic in ((1.13, 19.74, "19.736"), (8.83, 2.04, "2.045")):
        found = accounting.epsilons(
            dp_ftrl.event_of(noise, squared), 1e-6, grid, grid, accounting.ZERO_OUT
        )
        assert found.rdp < below
        assert f"{found.rdp_classic:.3f}" == classic
        assert found.pld < found.rdp
        assert found.adjacency is accounting.ZERO_OUT


def test_spanish_gboard_by_zcdp():
    # For rho .81 at delta 1e-10, 8.90 is published, and 8.92 by Renyi DP with an older grid.
    found = accounting.epsilons(
        # The Gaussian mechanism of this rho (Bun and Steinke 2016, proposition 1.6).
        dpa.GaussianDpEvent((2 * 0.81) ** -0.5),
        1e-10,
        orders=(*(1 + tenth / 10 for tenth in range(1, 100)), *range(12, 64)),
        adjacency=accounting.ZERO_OUT,
    )
    assert f"{found.rdp:.2f}" == "8.92"
    # The epsilon of a Gaussian mechanism is smaller than the epsilon of general zCDP.
    assert found.pld < 8.90


def test_bad_input():
    with pytest.raises(UserError, match="max_participations=0"):
        Participation(0, 3)
    with pytest.raises(UserError, match="min_separation=-1"):
        Participation(1, -1)
    with pytest.raises(UserError, match="rounds=0"):
        squared_sensitivity(Participation(1, 0), 0)
    with pytest.raises(UserError, match="restart_every=0"):
        squared_sensitivity(Participation(1, 0), 8, 0)
    with pytest.raises(UserError, match="min_separation=5000: too large"):
        squared_sensitivity(Participation(10, 5000), 100_000)
