import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tff_nlp.clients import batching
from tff_nlp.clients.batching import evaluation_batches, plan_epoch, plan_epochs, plan_steps
from tff_nlp.clients.token_cache import TokenCache


def batches(plan):
    return [
        plan.order[start:end].tolist()
        for start, end in zip(plan.offsets[:-1], plan.offsets[1:], strict=True)
    ]


def skewed_lengths(count, seed=0):
    """Returns lengths between 3 and 64 with a long tail, like those of phrases."""
    rng = np.random.default_rng(seed)
    return np.clip(np.exp(rng.normal(2.3, 0.65, count)), 3, 64).astype(np.int32)


@given(
    count=st.integers(0, 400),
    batch_size=st.integers(1, 40),
    window=st.integers(1, 30),
    seed=st.integers(0, 1000),
)
@settings(max_examples=200)
def test_every_example_once_in_batches_of_the_size(count, batch_size, window, seed):
    lengths = np.random.default_rng(seed).integers(1, 64, count)
    plan = plan_epoch(lengths, batch_size, np.random.default_rng(seed), window)
    assert sorted(plan.order.tolist()) == list(range(count))
    sizes = np.diff(plan.offsets)
    assert plan.offsets[0] == 0 and plan.offsets[-1] == count
    needed = -(-count // batch_size)
    windows = -(-needed // window)
    if count:
        assert sizes.min() >= 1 and sizes.max() <= batch_size
        assert needed <= len(sizes) <= needed + windows
    if needed < batching.SPLIT_BATCHES:
        # Plain batches and one partial batch.
        assert len(sizes) == needed
        assert sorted(sizes)[1:] == [batch_size] * (needed - 1)
    widths = plan.widths(lengths)
    assert widths.tolist() == [max(lengths[batch]) for batch in batches(plan)]


def test_cut_in_three_is_the_best_cut():
    rng = np.random.default_rng(0)
    for _ in range(200):
        batch_size = int(rng.integers(2, 9))
        lengths = np.sort(rng.integers(1, 60, rng.integers(batch_size + 1, 2 * batch_size + 1)))
        count = len(lengths)

        def cost(first, middle, lengths=lengths):
            parts = np.split(lengths, [first, first + middle])
            return sum(len(part) * part.max() for part in parts)

        best = min(
            cost(first, middle)
            for first in range(1, batch_size + 1)
            for middle in range(1, batch_size + 1)
            if 1 <= count - first - middle <= batch_size
        )
        sizes = batching._cut_in_three(lengths, batch_size)
        assert sizes.sum() == count and sizes.min() >= 1 and sizes.max() <= batch_size
        assert cost(sizes[0], sizes[1]) == best


def test_grouping_by_length_saves_most_of_the_padding():
    lengths = skewed_lengths(606)
    plain = plan_epoch(lengths, 32, np.random.default_rng(0), window_batches=1)
    grouped = plan_epoch(lengths, 32, np.random.default_rng(0))

    def real_tokens(plan):
        padded = sum(len(batch) * lengths[batch].max() for batch in batches(plan))
        return lengths.sum() / padded

    assert real_tokens(plain) < 0.5
    assert real_tokens(grouped) > 0.9


def test_passes_differ_and_seeds_repeat():
    lengths = skewed_lengths(300)
    plan = plan_epochs(lengths, 32, np.random.default_rng(5), epochs=2)
    same = plan_epochs(lengths, 32, np.random.default_rng(5), epochs=2)
    assert np.array_equal(plan.order, same.order)
    assert sorted(plan.order[:300]) == sorted(plan.order[300:]) == list(range(300))
    assert not np.array_equal(plan.order[:300], plan.order[300:])
    first = {frozenset(batch) for batch in batches(plan)[: len(batches(plan)) // 2]}
    second = {frozenset(batch) for batch in batches(plan)[len(batches(plan)) // 2 :]}
    # Even if all texts of a client are sorted together, batches are hardly ever repeated.
    assert len(first & second) <= 1


def test_batches_come_in_no_order_of_length():
    """Short batches are early or late equally often: rank correlation near 0 over 300 plans."""
    lengths = skewed_lengths(640)
    widths = [
        plan_epoch(lengths, 32, np.random.default_rng(seed)).widths(lengths)[:20]
        for seed in range(300)
    ]
    assert abs(np.corrcoef(np.mean(widths, 0), np.arange(20))[0, 1]) < 0.6
    assert np.ptp(np.mean(widths, 0)) < 6


def test_small_clients_partial_batch_is_anywhere():
    lengths = np.repeat([3, 20, 60], [8, 24, 8])
    holders = {
        tuple(sorted(min(batches(plan_epoch(lengths, 32, np.random.default_rng(s))), key=len)))
        for s in range(20)
    }
    assert holders == {tuple(range(8)), tuple(range(32, 40))}


@pytest.mark.parametrize(("count", "steps"), [(1, 1), (1, 7), (70, 2), (70, 20), (606, 25)])
def test_fixed_number_of_steps(count, steps):
    lengths = skewed_lengths(count)
    plan = plan_steps(lengths, 32, np.random.default_rng(0), steps)
    assert len(plan.offsets) == steps + 1
    uses = np.bincount(plan.order, minlength=count)
    assert uses.max() - uses.min() <= 1


def test_no_examples():
    nothing = np.zeros(0, np.int32)
    for plan in (
        plan_epochs(nothing, 4, np.random.default_rng(0), 3),
        plan_steps(nothing, 4, np.random.default_rng(0), 3),
    ):
        assert len(plan.order) == 0 and plan.offsets.tolist() == [0]
        assert plan.widths(nothing).tolist() == []


def make_cache(lengths):
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    tokens = np.repeat(np.arange(1, len(lengths) + 1), lengths).astype(np.uint16)
    return TokenCache(tokens, offsets, 64, "k")


@pytest.mark.parametrize("budget", [None, 200, 1])
def test_evaluation_batches_cover_the_rows_in_order_of_length(budget):
    cache = make_cache(skewed_lengths(150))
    rows = np.random.default_rng(0).permutation(150)[:101]
    seen = np.zeros(len(rows), int)
    last = real = total = 0
    for ids, positions in evaluation_batches(
        cache, rows, 0, batch_size=16, max_batch_tokens=budget
    ):
        assert ids.dtype == np.int32 and len(ids) == len(positions) <= 16
        assert budget is None or ids.size <= budget or len(ids) == 1
        assert ids.shape[1] >= last
        last = ids.shape[1]
        for row_ids, position in zip(ids, positions, strict=True):
            row = rows[position]
            length = cache.lengths[row]
            assert row_ids[:length].tolist() == [row + 1] * length
            assert not row_ids[length:].any()
        seen[positions] += 1
        real += int(cache.lengths[rows[positions]].sum())
        total += ids.size
    assert seen.tolist() == [1] * len(rows)
    assert real / total > 0.85


def test_evaluation_of_nothing():
    assert not list(evaluation_batches(make_cache(np.ones(3, int)), [], 0, batch_size=4))


def test_poisson_batches_have_each_example_independently():
    examples, batch_size, steps = 40, 10, 4000
    plan = batching.plan_poisson_steps(examples, batch_size, np.random.default_rng(0), steps)
    assert len(plan.offsets) == steps + 1
    joined = np.zeros([steps, examples])
    joined[np.repeat(np.arange(steps), np.diff(plan.offsets)), plan.order] += 1
    assert joined.max() == 1  # at most once in a batch
    rate = batching.poisson_rate(examples, batch_size)
    assert rate == 0.25
    shares = joined.mean(axis=0)
    assert np.abs(shares - rate).max() < 5 * np.sqrt(rate * (1 - rate) / steps)
    # The sizes have the variance of independent choices, not of a fixed size; six standard errors
    # of a variance, sqrt(2 / steps) each, are 13 %.
    assert np.diff(plan.offsets).var() == pytest.approx(examples * rate * (1 - rate), rel=0.15)


def test_empty_poisson_batches_have_a_width():
    plan = batching.BatchPlan(np.array([2, 0, 1]), np.array([0, 0, 2, 2, 3, 3]))
    assert plan.widths(np.array([5, 7, 3])).tolist() == [1, 5, 1, 7, 1]
    assert batching.BatchPlan(np.zeros(0, int), np.array([0])).widths(np.zeros(0)).tolist() == []


def test_a_client_with_fewer_examples_than_a_batch_is_always_whole():
    assert batching.poisson_rate(3, 8) == 1.0
    plan = batching.plan_poisson_steps(3, 8, np.random.default_rng(0), 5)
    assert np.diff(plan.offsets).tolist() == [3] * 5
    assert batching.poisson_steps(20, 8, 2) == 6
    assert batching.poisson_steps(20, 8, 2, 5) == 5
