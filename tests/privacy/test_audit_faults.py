"""Planted faults: what the audit says of a mean mechanism in NumPy that is wrong in one place.

200 clients whose updates share a direction, 500 canaries, 20,000 dimensions: all arithmetic of a
run but the training. docs/audit.md has the power over many seeds, and where there is none.
"""

import dataclasses
import functools
import math

import numpy as np
import pytest

from tff_nlp.privacy import accounting, audit, audit_bounds, canaries, events

SHAPES = ((100, 150), (5000,))
CLIENTS, CANARIES, DELTA = 200, 500, 1e-3
CLIPPING_NORM = 0.5
# Longer than the clipping norm, so that a mechanism which does not clip shows.
CANARY_NORM = 4 * CLIPPING_NORM


@dataclasses.dataclass(frozen=True)
class Mechanism:
    """What is claimed, and the accountant's epsilon for it."""

    noise_multiplier: float
    rounds: int
    probability: float

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


def flat(arrays):
    return np.concatenate([np.ravel(array) for array in arrays])


def updates(generator, dimension):
    """Clients' updates, half to twice the clipping norm long, a tenth of it in one direction."""
    common = generator.standard_normal(dimension, dtype=np.float32)
    own = generator.standard_normal((CLIENTS, dimension), dtype=np.float32)
    own += 0.1 * common
    own /= np.linalg.norm(own, axis=1, keepdims=True)
    return own * generator.uniform(0.5, 2, (CLIENTS, 1)).astype(np.float32) * CLIPPING_NORM


def release(seed, mechanism, fault=None, sent=None):
    """Returns the sum of all rounds' noisy sums; clients take part as they are sampled."""
    generator = np.random.default_rng(seed)
    dimension = canaries.dimension_of(SHAPES)
    part = generator.binomial(mechanism.rounds, mechanism.probability, CLIENTS + CANARIES)
    if sent is not None:
        part[CLIENTS:] *= sent

    def counted(update, times):
        if fault != "clipping left out":
            update = update * min(1.0, CLIPPING_NORM / np.linalg.norm(update))
        return update * times * (2 if fault == "clients counted twice" else 1)

    total = np.zeros(dimension)
    for update, times in zip(updates(generator, dimension), part[:CLIENTS], strict=True):
        total += counted(update, times)
    for index, times in enumerate(part[CLIENTS:]):
        if times:
            total += counted(flat(canaries.canary(seed, index, SHAPES, CANARY_NORM)), times)
    wrong = {"noise left out": 0.0, "half of the noise": 0.5}.get(fault, 1.0)
    spread = wrong * mechanism.noise_multiplier * CLIPPING_NORM * math.sqrt(mechanism.rounds)
    total += spread * generator.standard_normal(dimension)
    first = np.prod(SHAPES[0])
    return [total[:first].reshape(SHAPES[0]), total[first:]]


def audited(seed, mechanism, fault=None, confidence=audit_bounds.CONFIDENCE):
    released = release(seed, mechanism, fault)
    cosines = canaries.cosines(released, seed, CANARIES, SHAPES)
    return audit.estimate(cosines, canaries.dimension_of(SHAPES), DELTA, confidence=confidence)


@pytest.mark.parametrize("mechanism", [ONE_ROUND, SAMPLED], ids=["one round", "sampled"])
@pytest.mark.parametrize(
    "fault",
    ["noise left out", "clipping left out", "half of the noise", "clients counted twice"],
)
def test_a_fault_is_caught(mechanism, fault):
    found = audited(1, mechanism, fault)
    assert found.refutes(mechanism.epsilon)
    assert "does not keep" in found.line(mechanism.epsilon)
    assert found.epsilon > mechanism.epsilon


@pytest.mark.parametrize("mechanism", [ONE_ROUND, SAMPLED], ids=["one round", "sampled"])
def test_a_mechanism_without_fault_is_not_accused(mechanism):
    found = audited(2, mechanism)
    assert 0.2 < found.lower < 0.9 * mechanism.epsilon
    assert " <= epsilon <= " in found.line(mechanism.epsilon)


def test_clipping_left_out_is_invisible_to_canaries_of_the_clipping_norm(monkeypatch):
    """Why canaries are longer: those that need no clipping never learn that there is none."""
    monkeypatch.setattr(f"{__name__}.CANARY_NORM", CLIPPING_NORM)
    assert not audited(1, ONE_ROUND, "clipping left out").refutes(ONE_ROUND.epsilon)


def test_guesses_catch_what_is_plain_only():
    """The bound that needs no independence of canaries: noise left out, but not half of it."""
    mechanism, delta = Mechanism(2.0, 1, 1.0), 1e-5
    epsilon = audit.gaussian_epsilon(0, 2, 1, 2, delta)
    sent = canaries.coins(1, CANARIES)
    bounds = []
    for fault in ("noise left out", "half of the noise", None):
        released = release(1, mechanism, fault, sent)
        cosines = canaries.cosines(released, 1, CANARIES, SHAPES)
        correct = audit_bounds.correct_guesses(cosines, sent, 300)
        bounds.append(audit_bounds.guess_bound(correct, 300, CANARIES, delta))
    assert bounds[0] > epsilon > bounds[1] > bounds[2] > 0


@pytest.mark.slow
@pytest.mark.parametrize("mechanism", [ONE_ROUND, SAMPLED], ids=["one round", "sampled"])
def test_false_alarms_over_many_seeds(mechanism):
    """At a confidence of 0.95, at most 1 of 20 may be accused; the bound is not that tight."""
    epsilon = mechanism.epsilon
    accused = [audited(seed, mechanism, confidence=0.95).refutes(epsilon) for seed in range(60)]
    assert sum(accused) <= 3
