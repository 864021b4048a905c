"""The frontier keeps the budget, and its signal-to-noise ratio agrees with drawn noise."""

import dataclasses
import math

import numpy as np
import pytest

from tff_nlp import seeds
from tff_nlp.privacy import calibration, events, frontier, signal

BUDGET = frontier.Budget(
    population=100_000, target_epsilon=2.0, delta=1e-6, accountant="rdp", parameters=10_000
)


@pytest.fixture(scope="module")
def points():
    return frontier.plan(BUDGET, [100, 1000, 20_000], [50, 500])


def test_every_point_keeps_the_target_with_the_least_noise(points):
    epsilon_of = calibration.epsilon_by("rdp", BUDGET.delta)
    for point in points:
        one = events.poisson_round(point.clients_per_round / 1e5, point.noise_multiplier)
        epsilon = epsilon_of(events.compose([one] * point.rounds))
        assert epsilon == pytest.approx(point.epsilon)
        assert 1.999 < epsilon <= 2.0


def test_points_agree_with_the_full_search(points):
    epsilon_of = calibration.epsilon_by("rdp", BUDGET.delta)
    point = points[4]
    slow = calibration.smallest_noise(
        lambda z: events.compose(
            [events.poisson_round(point.clients_per_round / 1e5, z)] * point.rounds
        ),
        2.0,
        epsilon_of,
    )
    assert point.noise_multiplier == pytest.approx(slow, rel=1e-4)


def test_larger_cohorts_have_more_signal_and_more_rounds_less(points):
    few, many = points[:3], points[3:]
    for line in (few, many):
        ratios = [point.signal_to_noise for point in line]
        assert ratios == sorted(ratios)
    for less, more in zip(few, many, strict=True):
        assert less.signal_to_noise > more.signal_to_noise
        assert more.noise_multiplier > less.noise_multiplier


def test_no_point_is_better_than_a_best_point(points):
    for point in points:
        beaten = any(
            other is not point
            and other.work <= point.work
            and other.signal_to_noise_of_run > point.signal_to_noise_of_run
            for other in points
        )
        assert point.best is not beaten


def test_the_smallest_cohort_that_reaches_a_ratio():
    point = frontier.smallest_that_serves(BUDGET, 2.0, 50)
    assert point.signal_to_noise == pytest.approx(2.0)
    assert point.epsilon <= 2.0
    smaller = dataclasses.replace(point, clients_per_round=point.clients_per_round - 1)
    noise = smaller.clients_per_round * point.noise_on_mean
    one = events.poisson_round(smaller.clients_per_round / 1e5, noise)
    assert calibration.epsilon_by("rdp", BUDGET.delta)(events.compose([one] * 50)) > 2.0
    assert frontier.smallest_that_serves(BUDGET, 1e6, 50) is None


def test_signal_to_noise_is_what_drawn_noise_shows():
    noise, cohort, clip, parameters = 0.7, 40, 0.3, 5000
    stddev = signal.noise_on_mean(noise, clip, cohort)
    drawn = seeds.generator(1, "noise").normal(0, noise * clip, (200, parameters)) / cohort
    measured = np.sqrt(np.mean(np.sum(drawn**2, axis=1)))
    expected = 0.25 / signal.signal_to_noise(0.25, stddev, parameters)
    assert measured == pytest.approx(expected, rel=0.01)
    assert signal.signal_to_noise(1.0, 0.0, 5) == math.inf


def test_usual_cohorts():
    assert frontier.usual_cohorts(5000) == [50, 100, 200, 500, 1000, 2000]
    assert frontier.usual_cohorts(30) == [15]
