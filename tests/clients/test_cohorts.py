import itertools

import numpy as np
import pytest

from tff_nlp.clients import cohorts
from tff_nlp.clients.cohorts import fixed_size_cohort, poisson_cohort
from tff_nlp.errors import UserError


def test_a_cohort_depends_on_seed_and_round_only():
    one = fixed_size_cohort(3, 7, 1000, 20)
    fixed_size_cohort(3, 8, 1000, 20)
    assert np.array_equal(one, fixed_size_cohort(3, 7, 1000, 20))
    assert not np.array_equal(one, fixed_size_cohort(3, 8, 1000, 20))
    assert not np.array_equal(one, fixed_size_cohort(4, 7, 1000, 20))
    poisson = poisson_cohort(3, 7, 1000, 0.1)
    assert np.array_equal(poisson, poisson_cohort(3, 7, 1000, 0.1))
    assert not np.array_equal(poisson, poisson_cohort(3, 8, 1000, 0.1))


@pytest.mark.parametrize(("population", "cohort"), [(1, 1), (30, 30), (20_000, 50), (9_000, 1000)])
def test_fixed_size_is_without_replacement(population, cohort):
    drawn = fixed_size_cohort(0, 1, population, cohort)
    assert len(set(drawn.tolist())) == cohort
    assert drawn.min() >= 0 and drawn.max() < population
    assert np.all(np.diff(drawn) > 0)


def test_fixed_size_is_uniform():
    """All clients and all pairs are equally frequent in 3,000 cohorts of 5 out of 20."""
    member = np.zeros((3000, 20))
    for round_number in range(3000):
        member[round_number, fixed_size_cohort(1, round_number, 20, 5)] = 1
    # 0.25 +- four standard deviations; pairs (5 * 4) / (20 * 19).
    assert np.abs(member.mean(0) - 0.25).max() < 4 * np.sqrt(0.25 * 0.75 / 3000)
    pairs = (member.T @ member / 3000)[~np.eye(20, dtype=bool)]
    assert np.abs(pairs - 20 / 380).max() < 5 * np.sqrt(0.0526 * 0.9474 / 3000)


def test_poisson_members_are_independent():
    """The size has the mean and variance of the binomial; pairs have probability q^2."""
    member = np.zeros((4000, 30))
    for round_number in range(4000):
        member[round_number, poisson_cohort(1, round_number, 30, 0.2)] = 1
    sizes = member.sum(1)
    # Four standard errors: sqrt(4.8 / 4000) of the mean, sqrt(2 / 4000) of the variance.
    assert sizes.mean() == pytest.approx(6, abs=0.14)
    assert sizes.var() == pytest.approx(4.8, rel=0.1)
    assert np.abs(member.mean(0) - 0.2).max() < 4 * np.sqrt(0.16 / 4000)
    pairs = (member.T @ member / 4000)[~np.eye(30, dtype=bool)]
    assert np.abs(pairs - 0.04).max() < 5 * np.sqrt(0.04 * 0.96 / 4000)


def test_poisson_may_be_empty_or_everyone():
    assert any(len(poisson_cohort(0, r, 10, 0.05)) == 0 for r in range(50))
    assert poisson_cohort(0, 0, 10, 1.0).tolist() == list(range(10))
    assert poisson_cohort(0, 0, 10, 1e-12).dtype == np.int64


def test_mistakes():
    with pytest.raises(UserError, match="clients_per_round=11: there are only 10 clients"):
        fixed_size_cohort(0, 0, 10, 11)
    with pytest.raises(UserError, match="clients_per_round=0: must be 1 or more"):
        fixed_size_cohort(0, 0, 10, 0)
    for rate in (0.0, -0.1, 1.1, float("nan")):
        with pytest.raises(UserError, match="sampling_rate"):
            poisson_cohort(0, 0, 10, rate)


def test_cyclic_cohorts_bound_how_often_a_client_takes_part():
    population, size, rounds = 23, 5, 17
    drawn = [cohorts.cyclic_cohort(3, r, population, size) for r in range(rounds)]
    period = population // size
    taken = {c: [r for r, cohort in enumerate(drawn) if c in cohort] for c in range(population)}
    assert all(len(np.unique(cohort)) == size for cohort in drawn)
    for when in taken.values():
        assert len(when) <= -(-rounds // period)
        assert all(later - earlier == period for earlier, later in itertools.pairwise(when))
    assert sum(not when for when in taken.values()) == population % size
    other = cohorts.cyclic_cohort(4, 0, population, size)
    assert not np.array_equal(drawn[0], other)


def test_the_sampler_is_the_function_of_that_name():
    for name, draw in (("fixed", cohorts.fixed_size_cohort), ("cyclic", cohorts.cyclic_cohort)):
        np.testing.assert_array_equal(cohorts.sampler(name, 1, 50, 7)(3), draw(1, 3, 50, 7))
    poisson = cohorts.sampler("poisson", 1, 50, 7)
    np.testing.assert_array_equal(poisson(3), cohorts.poisson_cohort(1, 3, 50, 7 / 50))
