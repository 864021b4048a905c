"""Whole rounds give exact sums over the survivors, whichever clients drop out in any step."""

import concurrent.futures
import time
import tracemalloc

import numpy as np
import pytest

from tests.aggregation.secure_aggregation.network import LENIENT
from tff_nlp import errors, seeds
from tff_nlp.aggregation.secure_aggregation import (
    messages,
    packing,
    refusals,
    session,
    simulation,
)
from tff_nlp.aggregation.secure_aggregation.steps import Step

MODULI = [2**20, 1_000_003, 2**62, 2**62 - 57, 3, 2**32]
STEPS = simulation.STEPS


def draw_inputs(generator, clients, moduli=MODULI):
    """Returns tensors over the whole range of their types, with negative numbers."""
    return {
        c: [
            generator.integers(-(2**31), 2**31, 5, dtype=np.int32)
            if modulus < 2**31
            else generator.integers(-(2**63), 2**63 - 1, (2, 3), endpoint=True)
            for modulus in moduli
        ]
        for c in clients
    }


def exact_sums(inputs, clients, moduli=MODULI):
    return [
        (sum(inputs[c][k].astype(object) for c in clients) % modulus).tolist()
        for k, modulus in enumerate(moduli)
    ]


@pytest.mark.parametrize("case", range(40))
def test_random_rounds(case):
    """A round gives the exact sum over the clients that sent inputs, or aborts if too few did."""
    generator = seeds.generator(7, "test_random_rounds", case)
    count = int(generator.integers(2, 9))
    ids = [int(i) for i in generator.choice(10**6, count, replace=False)]
    threshold = int(generator.integers(max(2, count // 2 + 1), count + 1))
    vanishing = generator.permutation(ids)[: generator.integers(0, count)]
    drop_out = {int(c): STEPS[generator.integers(len(STEPS))] for c in vanishing}
    inputs = draw_inputs(generator, ids)
    answers = {step: [c for c in ids if drop_out.get(c, Step.FINISHED) > step] for step in STEPS}
    if min(map(len, answers.values())) < threshold:
        with pytest.raises(refusals.SecureAggregationAborted, match="nothing is revealed"):
            simulation.secure_sum(inputs, MODULI, threshold, drop_out, LENIENT)
        return
    result = simulation.secure_sum(inputs, MODULI, threshold, drop_out, LENIENT)
    assert result.survivors == tuple(sorted(answers[Step.MASKED_INPUT]))
    assert [s.tolist() for s in result.sums] == exact_sums(inputs, result.survivors)
    assert all(s.dtype == np.int64 for s in result.sums)
    assert [s.shape for s in result.sums] == [t.shape for t in inputs[ids[0]]]


@pytest.mark.parametrize("count", [5, 12])
def test_the_bytes_beside_the_vectors_are_as_stated(count):
    inputs = draw_inputs(np.random.default_rng(count), range(count))
    result = simulation.secure_sum(inputs, MODULI)
    vectors = [session.Vector(t.size, m) for t, m in zip(inputs[0], MODULI, strict=True)]
    payload = sum(packing.packed_bytes(v.length, v.bits) for v in vectors)
    sent, received = messages.overhead(count, len(MODULI))
    for client in range(count):
        assert sum(result.bytes_up[client].values()) == payload + sent
        assert sum(result.bytes_down[client].values()) == received


def test_random_rounds_cover_both_ends_and_every_step():
    aborted, steps = set(), set()
    for case in range(40):
        generator = seeds.generator(7, "test_random_rounds", case)
        count = int(generator.integers(2, 9))
        generator.choice(10**6, count, replace=False)
        threshold = int(generator.integers(max(2, count // 2 + 1), count + 1))
        vanishing = generator.permutation(count)[: generator.integers(0, count)]
        drawn = [STEPS[generator.integers(len(STEPS))] for _ in vanishing]
        steps |= set(drawn)
        aborted.add(count - len(drawn) < threshold)
    assert steps == set(STEPS)
    assert aborted == {True, False}


@pytest.mark.parametrize("step", STEPS)
def test_as_many_may_vanish_at_each_step_as_the_threshold_leaves(step):
    inputs = draw_inputs(np.random.default_rng(int(step)), range(10))
    gone = dict.fromkeys((1, 5, 8), step)
    result = simulation.secure_sum(inputs, MODULI, drop_out=gone)
    left = range(10) if step > Step.MASKED_INPUT else [0, 2, 3, 4, 6, 7, 9]
    assert result.survivors == tuple(left)
    assert [s.tolist() for s in result.sums] == exact_sums(inputs, left)
    with pytest.raises(refusals.SecureAggregationAborted, match="6 clients .* threshold is 7"):
        simulation.secure_sum(inputs, MODULI, drop_out=gone | {9: step})


def test_the_extremes_of_the_moduli():
    for modulus in (2, 3, 2**62 - 1, 2**62):
        inputs = {c: [np.array([0, 1, modulus - 1, -1])] for c in range(5)}
        [total] = simulation.secure_sum(inputs, [modulus]).sums
        assert total.tolist() == [0, 5 % modulus, -5 % modulus, -5 % modulus]


def test_bytes_are_counted_for_each_client_and_step():
    inputs = {c: [np.zeros(1000, np.int32)] for c in range(6)}
    drop_out = {3: Step.SHARE_KEYS, 4: Step.MASKED_INPUT}
    result = simulation.secure_sum(inputs, [2**20], 4, drop_out, LENIENT)
    assert result.bytes_up[3] == {
        Step.ADVERTISE_KEYS: 54 + 64 + 64,
        Step.SHARE_KEYS: 0,
        Step.MASKED_INPUT: 0,
        Step.CONSISTENCY_CHECK: 0,
        Step.UNMASK: 0,
    }
    assert result.bytes_up[4][Step.MASKED_INPUT] == 0
    # Header and signature, and the entries in 20 bits.
    assert result.bytes_up[0][Step.MASKED_INPUT] == 54 + 64 + packing.packed_bytes(1000, 20)
    # A commitment and, for each of 5 peers, its id and two encrypted shares.
    assert result.bytes_up[0][Step.SHARE_KEYS] == 54 + 64 + 32 + 4 + 5 * (8 + 12 + 64 + 16)
    # The server does not know who dropped out before it has waited.
    assert result.bytes_down[3][Step.SHARE_KEYS] == 54 + 64 + 4 + 6 * 182
    assert result.bytes_down[3][Step.MASKED_INPUT] == 0
    assert result.bytes_down[4][Step.MASKED_INPUT] > 0
    assert result.bytes_down[4][Step.CONSISTENCY_CHECK] == 0
    # A digest; the sets of four survivors and one dropped client; four signatures.
    assert result.bytes_up[0][Step.CONSISTENCY_CHECK] == 54 + 64 + 32
    assert result.bytes_down[0][Step.CONSISTENCY_CHECK] == 54 + 64 + 2 * 4 + 5 * 8
    assert result.bytes_down[0][Step.UNMASK] == 54 + 64 + 4 + 4 * (8 + 64)
    assert all(result.client_seconds[0][step] > 0 for step in STEPS)
    assert result.client_seconds[3][Step.SHARE_KEYS] == 0
    assert all(result.server_seconds[step] > 0 for step in STEPS)


def test_too_few_clients_are_a_users_mistake():
    inputs = {c: [np.zeros(3, int)] for c in range(6)}
    with pytest.raises(errors.UserError, match="secure_aggregation_threshold=7: is not from 1"):
        simulation.secure_sum(inputs, [8], threshold=7)
    with pytest.raises(errors.UserError, match="secure_aggregation_threshold=3: must be at l"):
        simulation.secure_sum(inputs, [8], threshold=3)
    for few in ({c: inputs[c] for c in range(4)}, {0: inputs[0]}, {}):
        with pytest.raises(errors.UserError, match=f"here are {len(few)}"):
            simulation.secure_sum(few, [8])


def test_clients_with_other_tensors_than_the_rest():
    inputs = {c: [np.zeros(3, int)] for c in range(6)}
    with pytest.raises(ValueError, match="different shapes"):
        simulation.secure_sum({**inputs, 1: [np.zeros(4, int)]}, [8])
    with pytest.raises(ValueError):
        simulation.secure_sum(inputs, [8, 8])


def test_inputs_may_come_from_several_threads_in_any_order():
    vectors = [session.Vector(50_000, 2**24), session.Vector(7, 101)]
    generator = np.random.default_rng(3)
    inputs = {c: [generator.integers(0, v.modulus, v.length) for v in vectors] for c in range(12)}
    current = simulation.Round(inputs, vectors, drop_out={2: Step.MASKED_INPUT})
    assert current.expected == (0, 1, 3, 4, 5, 6, 7, 8, 9, 10, 11)
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda c: current.add_input(c, inputs[c]), reversed(current.expected)))
    assert current.expected == ()
    with pytest.raises(ValueError, match="no input of client 3 is expected"):
        current.add_input(3, inputs[3])
    with pytest.raises(ValueError, match="no input of client 2 is expected"):
        current.add_input(2, inputs[2])
    result = current.finish()
    assert [s.tolist() for s in result.sums] == exact_sums(
        inputs, result.survivors, [v.modulus for v in vectors]
    )


def test_inputs_are_folded_one_at_a_time(monkeypatch):
    current = simulation.Round(range(8), [session.Vector(2, 8)])
    fold, folding, most = current._server.add_masked_input, [], []

    def slow_fold(message):
        folding.append(message)
        time.sleep(0.005)
        most.append(len(folding))
        fold(message)
        folding.remove(message)

    monkeypatch.setattr(current._server, "add_masked_input", slow_fold)
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda c: current.add_input(c, [np.ones(2, int)]), current.expected))
    assert most == [1] * 8
    assert current.finish().sums[0].tolist() == [0, 0]


def test_an_input_that_does_not_come_counts_as_vanished():
    vectors = [session.Vector(4, 1000)]
    inputs = {c: [np.full(4, c + 1)] for c in range(5)}
    current = simulation.Round(inputs, vectors)
    for client in (0, 1, 3, 4):
        current.add_input(client, inputs[client])
    with pytest.raises(ValueError, match="entries"):
        current.add_input(2, [np.zeros(5, int)])
    result = current.finish()
    assert result.survivors == (0, 1, 3, 4)
    assert result.sums[0].tolist() == [12] * 4


def test_memory_does_not_grow_with_the_cohort():
    """The server adds inputs as they come, so the peak is the same for 5 clients and for 16."""
    length = 300_000

    def peak(clients):
        current = simulation.Round(range(clients), [session.Vector(length, 2**32)])
        tensor = np.ones(length, np.int32)
        tracemalloc.start()
        for client in current.expected:
            current.add_input(client, [tensor])
        found = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert current.finish().sums[0].tolist() == [clients] * length
        return found

    few, many = peak(5), peak(16)
    vector = 4 * length
    assert few > vector
    assert many < few + vector / 2
