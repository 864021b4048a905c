"""Bounds from rounds against scipy's distributions, their false alarms, and their limits."""

import dataclasses
import math

import numpy as np
import pytest
from scipy import stats

from tff_nlp.privacy import audit, audit_report, canaries, round_audit, round_traces
from tff_nlp.privacy.round_traces import Trace

CONFIDENCE = 0.999


def drawn(generator, rounds, sizes, *, noise=1.0, clients=0.0, newcomers=50, count=1.0):
    """Returns traces of rounds with noise, a sum of clients, and canaries of a given weight.

    The sum of newcomers has the length of a sum of nearly orthogonal directions.
    """
    traces = []
    for number in range(1, rounds + 1):
        rest = noise * generator.standard_normal(sum(sizes))
        rest[0] += clients
        fresh = generator.standard_normal(sum(sizes))
        fresh *= math.sqrt(newcomers) / np.linalg.norm(fresh)
        rest += (count - 1) * fresh
        parts = np.split(rest, np.cumsum(sizes)[:-1])
        traces.append(
            Trace(
                number,
                tuple(range(newcomers * (number - 1), newcomers * number)),
                tuple(float(part @ part) for part in parts),
                float(fresh @ fresh),
                float(fresh @ rest),
            )
        )
    return traces


def test_a_trace_describes_the_remainder():
    shapes = ((3, 40), (80,))
    directions = [canaries.canary(5, index, shapes) for index in range(4)]
    rest = [np.random.default_rng(1).standard_normal(shape) for shape in shapes]
    # Canaries 1 to 3 took part; 2 and 3 are new. The weight of canary 2 is 1.5.
    counts = (0, 1, 1.5, 1)
    released = [
        r + sum(c * d[n] for c, d in zip(counts, directions, strict=True))
        for n, r in enumerate(rest)
    ]
    found = round_traces.trace(7, released, [3, 1, 2], {1}, 5)
    remainder = [r + 0.5 * d for r, d in zip(rest, directions[2], strict=True)]
    fresh = [a + b for a, b in zip(directions[2], directions[3], strict=True)]
    assert (found.round, found.canaries) == (7, (1, 2, 3))
    np.testing.assert_allclose(found.squares, [np.sum(part**2) for part in remainder], rtol=1e-5)
    assert found.newcomers == pytest.approx(sum(np.sum(part**2) for part in fresh), rel=1e-5)
    product = sum(np.sum(f * r) for f, r in zip(fresh, remainder, strict=True))
    assert found.product == pytest.approx(product, abs=1e-4)


def test_the_noise_bound_is_the_chi_squared_test():
    traces = drawn(np.random.default_rng(2), 1, (500,), noise=1.6)
    found = round_audit.noise_bound(traces, (500,), 2.0, CONFIDENCE)
    length = sum(traces[0].squares)
    # At the bound, a release this short has a probability of 0.001.
    assert stats.chi2(500).cdf(length / (2.0 * found.at_most) ** 2) == pytest.approx(1e-3)
    assert found.where == "all rounds" and 0.8 < found.at_most < 1


def test_the_count_bound_is_the_t_test_of_the_cosine():
    trace = drawn(np.random.default_rng(3), 1, (400,), count=1.2)[0]
    found = round_audit.count_bound([trace], (400,), CONFIDENCE)
    cosine = trace.product / math.sqrt(trace.newcomers * trace.squares[0])
    estimate = 1 + trace.product / trace.newcomers
    unit = (estimate - 1) / (cosine * 20)
    assert found.at_least == pytest.approx(estimate - unit * stats.norm.isf(1e-3))
    assert found.newcomers == 50


@pytest.mark.thorough
@pytest.mark.parametrize("clients", [0.0, 15.0])
def test_the_bounds_are_wrong_no_more_often_than_allowed(clients):
    """The bounds are tightest with exactly the stated noise and canaries of weight 1."""
    generator, sizes, trials, allowed = np.random.default_rng(4), (120, 80), 1000, 0.05
    wrong = np.zeros(2, int)
    for _ in range(trials):
        traces = drawn(generator, 3, sizes, clients=clients)
        wrong[0] += round_audit.noise_bound(traces, sizes, 1.0, 1 - allowed).at_most < 1
        wrong[1] += round_audit.count_bound(traces, sizes, 1 - allowed).at_least > 1
    for number in wrong:
        assert stats.binomtest(int(number), trials, allowed, alternative="greater").pvalue > 1e-3


def test_faults_at_the_stated_limits_are_found():
    """About nine of ten faults at the limit are found, and almost none well below the limit."""
    generator, sizes, trials = np.random.default_rng(5), (3000, 1000), 200
    sound = drawn(generator, 2, sizes, clients=20.0, newcomers=20)
    below = round_audit.noise_bound(sound, sizes, 1.0, CONFIDENCE).finds_below
    above = round_audit.count_bound(sound, sizes, CONFIDENCE).finds_above
    assert 0.8 < below < 1 < above < 3

    def share(noise, count):
        found = np.zeros(2)
        for _ in range(trials):
            faulty = drawn(generator, 2, sizes, clients=20.0, newcomers=20, noise=noise)
            found[0] += round_audit.noise_bound(faulty, sizes, 1.0, CONFIDENCE).at_most < 1
            faulty = drawn(generator, 2, sizes, clients=20.0, newcomers=20, count=count)
            found[1] += round_audit.count_bound(faulty, sizes, CONFIDENCE).at_least > 1
        return found / trials

    assert (share(below, above) > 0.75).all()
    assert (share((1 + below) / 2, (1 + above) / 2) < 0.65).all()


def test_limits_where_nothing_can_be_found():
    """The clients' sum is as long as all the noise, or there is one canary in few dimensions."""
    generator = np.random.default_rng(6)
    traces = drawn(generator, 1, (100,), clients=20.0, newcomers=1)
    assert round_audit.noise_bound(traces, (100,), 1.0, CONFIDENCE).finds_below is None
    tiny = drawn(generator, 1, (10,), newcomers=1)
    assert round_audit.count_bound(tiny, (10,), CONFIDENCE).finds_above is None
    alone = [dataclasses.replace(t, newcomers=0.0, product=0.0, canaries=()) for t in traces]
    assert round_audit.count_bound(alone, (100,), CONFIDENCE) is None
    with pytest.raises(ValueError, match="noise multiplier 0"):
        round_audit.noise_bound(traces, (100,), 0.0, CONFIDENCE)


@pytest.mark.parametrize("degrees", [10**5, 10**6, 10**7, 10**9])
def test_lengths_of_the_noise_of_large_models(degrees):
    """The Cornish-Fisher expansion up to the skewness of the chi-squared distribution."""
    normal = stats.norm.ppf(1e-6)
    expanded = normal + (normal**2 - 1) * math.sqrt(8 / degrees) / 6
    found = (round_audit.shortest(1e-6, degrees) - degrees) / math.sqrt(2 * degrees)
    assert found == pytest.approx(expanded, abs=6 / degrees + 1e-6)


def report_of(traces, sizes, mean, claimed=3.0, **changes):
    cosines = (mean + np.random.default_rng(7).standard_normal(100)) / math.sqrt(sum(sizes))
    values = {"noise_multiplier": 1.0, **changes}
    return audit_report.report(cosines, sizes, 1e-3, claimed, traces, **values)


def test_the_line_states_bounds_and_limits():
    sizes = (15_000, 5000)
    report = report_of(drawn(np.random.default_rng(8), 2, sizes), sizes, 1.0)
    assert not report.refuted
    line = report.line()
    for part in (
        f"audit {report.found.lower:.3f} <= epsilon <= 3.000; noise at most 1.0",
        "a client counts at least 0.",
        "(100 canaries, confidence 0.999, delta 0.001; estimate ",
        f"It finds noise below {report.noise.finds_below:.2f} of what is stated, or clients that "
        f"count more than {report.counts.finds_above:.2f} times, or canaries that stand out "
        f"{report.finds_trace:.1f} times as much in the final weights",
    ):
        assert part in line
    # Three bounds share the error probability.
    assert report.found.confidence == pytest.approx(1 - 1e-3 / 3)


def test_the_line_says_which_faults_are_missed():
    traces = drawn(np.random.default_rng(9), 1, (10,), clients=20.0, newcomers=1)
    line = report_of(traces, (10,), -1.0).line()
    assert line.endswith(
        ". It misses noise that is left out altogether, or clients that count too much, or "
        "canaries that stand out in the final weights"
    )


def test_without_rounds_the_final_weights_alone_are_audited():
    report = report_of((), (20_000,), 1.0, noise_multiplier=None)
    assert (report.noise, report.counts) == (None, None)
    assert report.found.confidence == report.confidence == 0.999
    line = report.line()
    assert "noise" not in line and "times as much in the final weights" in line


def test_the_stated_limit_of_the_final_weights_is_found():
    """Canaries with this many times the mean cosine are found in about nine of ten runs."""
    generator, dimension, claimed = np.random.default_rng(10), 10**6, 3.0
    spread = dimension**-0.5

    def report(mean):
        cosines = (mean + generator.standard_normal(200)) * spread
        return audit_report.report(cosines, (dimension,), 1e-3, claimed)

    times = np.mean([report(1.0).finds_trace for _ in range(20)])
    assert 1 < times < 3
    found = np.mean([report(times).refuted for _ in range(100)])
    assert 0.7 < found <= 1


def test_a_refuted_line_names_every_bound_that_shows_it():
    sizes = (15_000, 5000)
    faulty = drawn(np.random.default_rng(11), 2, sizes, noise=0.5, count=1.5)
    report = report_of(faulty, sizes, 8.0)
    assert report.refuted and len(report.refutations) == 3
    assert report.line().startswith(f"audit {report.found.lower:.3f} > epsilon 3.000: the run does")
    assert "the noise is at most 0.5" in report.line()
    assert "times as much as it may" in report.line()
    assert report.found.refutes(3.0) and isinstance(report.found, audit.Estimate)
