"""The searched values keep the target, and no better values do."""

import dp_accounting as dpa
import pytest

from tff_nlp.errors import UserError
from tff_nlp.privacy import accounting, calibration, events, names

POPULATION, DELTA = 3383, 1e-5


def run(cohort, noise, rounds=100):
    one = events.poisson_round(cohort / POPULATION, noise)
    return events.compose([dpa.SelfComposedDpEvent(one, rounds)])


@pytest.fixture(params=["rdp_classic", "rdp", pytest.param("pld", marks=pytest.mark.slow)])
def epsilon_of(request):
    return calibration.epsilon_by(request.param, DELTA)


RDP = calibration.epsilon_by("rdp", DELTA)


def test_each_accountant_agrees_with_the_statement_of_all():
    found = accounting.epsilons(run(120, 1.2), DELTA)
    for accountant in accounting.ACCOUNTANTS:
        assert calibration.epsilon_by(accountant, DELTA)(run(120, 1.2)) == found.by(accountant)


def test_smallest_noise(epsilon_of):
    noise = calibration.smallest_noise(lambda z: run(120, z), 2.0, epsilon_of)
    assert epsilon_of(run(120, noise)) <= 2.0
    assert epsilon_of(run(120, noise * (1 - 1e-4))) > 2.0


def test_smallest_noise_near_a_known_one():
    noise = calibration.smallest_noise(lambda z: run(120, z), 2.0, RDP)
    for near in (noise * 1.001, noise, noise * 0.9, noise * 7):
        again = calibration.smallest_noise(lambda z: run(120, z), 2.0, RDP, near)
        assert again == pytest.approx(noise, rel=1e-5)
        assert RDP(run(120, again)) <= 2.0


@pytest.mark.parametrize("target", [0.01, 0.5, 30.0])
def test_smallest_noise_at_extremes(target):
    noise = calibration.smallest_noise(lambda z: run(120, z), target, RDP)
    assert 0.98 * target < RDP(run(120, noise)) <= target


def test_tff_tutorial_from_both_sides():
    # 120 clients are the smallest cohort with noise .01 on the mean, and the largest with z = 1.2.
    assert calibration.smallest_cohort(lambda n: run(n, 0.01 * n), POPULATION, 2.0, RDP) == 120
    assert calibration.largest_cohort(lambda n: run(n, 1.2), POPULATION, 2.0, RDP) == 120


def test_most_rounds(epsilon_of):
    rounds = calibration.most_rounds(lambda n: run(120, 1.2, n), 2.0, epsilon_of)
    assert epsilon_of(run(120, 1.2, rounds)) <= 2.0 < epsilon_of(run(120, 1.2, rounds + 1))


def test_limits_of_the_searches():
    assert calibration.largest_cohort(lambda n: run(n, 50.0), POPULATION, 2.0, RDP) == POPULATION
    assert calibration.most_rounds(lambda n: run(1, 1e5, n), 5.0, RDP) == names.MOST_ROUNDS
    assert calibration.smallest_cohort(lambda n: run(n, n * 10.0), POPULATION, 2.0, RDP) == 1


def test_a_target_that_nothing_reaches_is_refused():
    classic = calibration.epsilon_by("rdp_classic", DELTA)
    with pytest.raises(UserError, match=r"target_epsilon=0\.1: no noise reaches it.* 0\.36"):
        calibration.smallest_noise(lambda z: run(120, z), 0.1, classic)
    with pytest.raises(UserError, match="already exceeded with one client per round"):
        calibration.largest_cohort(lambda n: run(n, 0.01), POPULATION, 0.1, RDP)
    with pytest.raises(UserError, match="already exceeded after one round"):
        calibration.most_rounds(lambda n: run(120, 0.01, n), 0.1, RDP)
    with pytest.raises(UserError, match="even with all 3,383 clients"):
        calibration.smallest_cohort(lambda n: run(n, n * 1e-6), POPULATION, 0.1, RDP)


@pytest.mark.parametrize("target", [0.0, -1.0, float("inf"), float("nan")])
def test_a_target_must_be_positive_and_finite(target):
    with pytest.raises(UserError, match="^target_epsilon="):
        calibration.check_target(target)


def test_sampling_without_replacement_has_no_loss_distribution():
    with pytest.raises(UserError, match="accountant=pld"):
        calibration.epsilon_by("pld", DELTA)(events.fixed_size_round(100, 10, 5.0))
