"""Planted faults: the audit of a noisy mean in NumPy with a single fault.

There are 200 clients with similar updates and 20,000 dimensions. The test does all arithmetic of a
run except training. docs/audit.md has the power over many seeds, and the cases without power.
"""

import dataclasses
import functools

import numpy as np
import pytest

from tff_nlp.privacy import (
    accounting,
    audit_bounds,
    audit_report,
    canaries,
    events,
    round_traces,
)

SHAPES = ((100, 150), (5000,))
SIZES = (15_000, 5000)
CLIENTS, DELTA = 200, 1e-3
CLIPPING_NORM = 0.5
# Canaries are longer than the clipping norm, so that missing clipping is visible.
CANARY_NORM = 4 * CLIPPING_NORM


@dataclasses.dataclass(frozen=True)
class Mechanism:
    """The stated mechanism, its epsilon by the accountant, and the number of canaries."""

    noise_multiplier: float
    rounds: int
    probability: float
    canaries: int = 500

    @functools.cached_property
    def epsilon(self):
        if self.probability < 1:
            one = events.poisson_round(self.probability, self.noise_multiplier)
        else:
            one = events.everybody_round(self.noise_multiplier)
        found = accounting.epsilons(events.compose([one] * self.rounds), DELTA)
        return min(found.by(name) for name in accounting.ACCOUNTANTS)


ONE_ROUND = Mechanism(1.0, 1, 1.0)
SAMPLED = Mechanism(1.0, 30, 0.1)
FEW_CANARIES = Mechanism(1.0, 10, 0.1, canaries=100)
BOTH = pytest.mark.parametrize("mechanism", [ONE_ROUND, SAMPLED], ids=["one round", "sampled"])


@pytest.fixture(autouse=True)
def drawn_once(monkeypatch):
    """Caches canaries, which the package draws again each time."""
    kept = functools.lru_cache(1024)(canaries.canary)
    monkeypatch.setattr(
        canaries, "canary", lambda seed, index, shapes: kept(seed, index, tuple(map(tuple, shapes)))
    )


def flat(arrays):
    return np.concatenate([np.ravel(array) for array in arrays])


def tensors(array):
    return [array[: SIZES[0]].reshape(SHAPES[0]), array[SIZES[0] :]]


def updates(generator):
    """Returns updates of 0.5 to 2 clipping norms, with a tenth in a common direction."""
    common = generator.standard_normal(sum(SIZES), dtype=np.float32)
    own = generator.standard_normal((CLIENTS, sum(SIZES)), dtype=np.float32)
    own += 0.1 * common
    own /= np.linalg.norm(own, axis=1, keepdims=True)
    return own * generator.uniform(0.5, 2, (CLIENTS, 1)).astype(np.float32) * CLIPPING_NORM


def clipped(sent, fault):
    """Returns the contribution of each client, one per row."""
    if fault == "clipping left out":
        return sent

    def clip(part):
        length = np.linalg.norm(part, axis=1, keepdims=True)
        return part * np.minimum(1, CLIPPING_NORM / length)

    if fault == "clipping per tensor":
        return np.concatenate([clip(sent[:, : SIZES[0]]), clip(sent[:, SIZES[0] :])], axis=1)
    return clip(sent) * (2 if fault == "clients counted twice" else 1)


def spread(fault, number):
    """Returns the noise's standard deviation over the stated one, for each value of an update."""
    share = {"noise left out": 0.0, "half of the noise": 0.5, "noise times 0.71": 0.71}
    spread = np.full(sum(SIZES), share.get(fault, 1.0))
    if fault == "noise left out of a tensor":
        spread[SIZES[0] :] = 0
    if fault == "noise left out in a round" and number == 1:
        spread[:] = 0
    return spread


def run(seed, mechanism, fault=None):
    """Returns the noisy sum of each round, and the canaries in it: bool[rounds, canaries]."""
    generator = np.random.default_rng(seed)
    planted = [
        flat(canaries.canary(seed, index, SHAPES)) * np.float32(CANARY_NORM)
        for index in range(mechanism.canaries)
    ]
    rows = clipped(np.concatenate([updates(generator), planted]), fault)
    part = generator.random((mechanism.rounds, len(rows))) < mechanism.probability
    stddev = mechanism.noise_multiplier * CLIPPING_NORM
    sums = []
    for number, came in enumerate(part):
        noise = stddev * spread(fault, number) * generator.standard_normal(sum(SIZES))
        sums.append(came.astype(np.float32) @ rows + noise)
    return sums, part[:, CLIENTS:]


def audited(seed, mechanism, fault=None, confidence=audit_bounds.CONFIDENCE):
    """Returns the report on a run."""
    sums, part = run(seed, mechanism, fault)
    traces, before = [], set()
    for number, (total, came) in enumerate(zip(sums, part, strict=True), start=1):
        sent = {int(index) for index in np.flatnonzero(came)}
        released = tensors(total / CLIPPING_NORM)
        traces.append(round_traces.trace(number, released, sent, before, seed))
        before |= sent
    return audit_report.report(
        canaries.cosines(tensors(sum(sums)), seed, mechanism.canaries, SHAPES),
        SIZES,
        DELTA,
        mechanism.epsilon,
        traces,
        noise_multiplier=mechanism.noise_multiplier,
        confidence=confidence,
    )


@BOTH
@pytest.mark.parametrize(
    "fault",
    ["noise left out", "clipping left out", "half of the noise", "clients counted twice"],
)
def test_the_final_weights_show_a_large_fault(mechanism, fault):
    report = audited(1, mechanism, fault)
    assert report.found.refutes(mechanism.epsilon)
    assert "does not keep" in report.line()
    assert report.found.epsilon > mechanism.epsilon


@pytest.mark.parametrize(
    ("mechanism", "fault", "words"),
    [
        (ONE_ROUND, "noise times 0.71", "the noise is at most 0.7"),
        (FEW_CANARIES, "noise times 0.71", "the noise is at most 0.7"),
        (FEW_CANARIES, "half of the noise", "the noise is at most 0.5"),
        (FEW_CANARIES, "noise left out of a tensor", "of what is stated (tensor 2)"),
        (FEW_CANARIES, "noise left out in a round", "of what is stated (round 2)"),
        (ONE_ROUND, "clipping per tensor", "a client counts at least 1.2"),
        (FEW_CANARIES, "clipping left out", "a client counts at least 3."),
    ],
)
def test_the_rounds_show_what_the_final_weights_do_not(mechanism, fault, words):
    report = audited(1, mechanism, fault)
    assert report.refuted and words in report.line()
    if fault != "clipping left out":
        assert not report.found.refutes(mechanism.epsilon)


@BOTH
def test_a_mechanism_without_fault_is_not_refuted(mechanism):
    report = audited(2, mechanism)
    assert not report.refuted
    assert 0.2 < report.found.lower < 0.9 * mechanism.epsilon
    assert " <= epsilon <= " in report.line()
    assert 1 <= report.noise.at_most < 1.1
    assert 0.7 < report.counts.at_least <= 1


def test_clipping_left_out_is_invisible_to_canaries_of_the_clipping_norm(monkeypatch):
    """Canaries must be longer than the clipping norm, or they do not show missing clipping."""
    monkeypatch.setattr(f"{__name__}.CANARY_NORM", CLIPPING_NORM)
    assert not audited(1, ONE_ROUND, "clipping left out").refuted


@pytest.mark.slow
@BOTH
def test_false_alarms_over_many_seeds(mechanism):
    """At a confidence of 0.95, at most 1 of 20 runs may be refuted; in fact there are fewer."""
    accused = [audited(seed, mechanism, confidence=0.95).refuted for seed in range(60)]
    assert sum(accused) <= 7
