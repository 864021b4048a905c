"""Canaries are random directions that are drawn again each time, one at a time."""

import tracemalloc

import numpy as np
import pytest
from scipy import stats

from tff_nlp.privacy import canaries

SHAPES = ((30, 20), (20,), (), (3, 2, 40))


def flat(arrays):
    return np.concatenate([np.ravel(array) for array in arrays]).astype(np.float64)


def test_a_canary_has_the_norm_and_the_shapes():
    parts = canaries.canary(3, 5, SHAPES, norm=2.5)
    assert [part.shape for part in parts] == [tuple(shape) for shape in SHAPES]
    assert {part.dtype for part in parts} == {np.dtype(np.float32)}
    assert np.linalg.norm(flat(parts)) == pytest.approx(2.5, rel=1e-6)
    assert canaries.length(parts) == pytest.approx(2.5, rel=1e-6)
    assert len(flat(parts)) == 861


def test_the_same_numbers_give_the_same_canary_and_others_another():
    first = flat(canaries.canary(3, 5, SHAPES))
    np.testing.assert_array_equal(first, flat(canaries.canary(3, 5, SHAPES)))
    for seed, index in ((3, 6), (4, 5)):
        assert abs(first @ flat(canaries.canary(seed, index, SHAPES))) < 0.2


def test_the_cosines_are_those_of_the_vectors():
    released = [np.random.default_rng(0).normal(size=shape) for shape in SHAPES]
    vectors = [flat(canaries.canary(7, index, SHAPES)) for index in range(6)]
    expected = [v @ flat(released) / np.linalg.norm(flat(released)) for v in vectors]
    np.testing.assert_allclose(canaries.cosines(released, 7, 6, SHAPES), expected, atol=1e-6)
    own = canaries.canary(7, 2, SHAPES, norm=9.0)
    assert canaries.cosines(own, 7, 6, SHAPES)[2] == pytest.approx(1, abs=1e-6)


@pytest.mark.thorough
def test_canaries_that_were_not_sent_look_like_the_closed_form():
    """The audit uses this closed form: N(0, 1/dimension) for every release."""
    released = [np.zeros(shape) for shape in SHAPES]
    released[1][:] = np.arange(20)
    found = canaries.cosines(released, 1, 2000, SHAPES)
    law = stats.norm(scale=861**-0.5)
    assert stats.kstest(found, law.cdf).pvalue > 0.01
    assert stats.kstest(found, stats.norm(scale=0.8 * law.std()).cdf).pvalue < 0.01


def test_one_canary_is_in_memory_at_a_time():
    shapes = ((500, 1000),)
    released = [np.ones(shape, np.float32) for shape in shapes]
    tracemalloc.start()
    canaries.cosines(released, 0, 8, shapes)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 2.5 * released[0].nbytes


@pytest.mark.parametrize(
    ("released", "words"),
    [
        ([np.ones(3)], "different shapes"),
        ([np.zeros(4)], "norm 0.0"),
        ([np.full(4, np.nan)], "norm nan"),
    ],
)
def test_a_release_without_a_direction_is_refused(released, words):
    with pytest.raises(ValueError, match=words):
        canaries.cosines(released, 0, 2, ((4,),))
