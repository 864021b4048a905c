"""Canaries in real runs: quiet where the mechanism is sound, an alarm for each planted fault."""

import json
import re
import shutil

import pytest
import tensorflow as tf

from tests.experiments import test_result
from tests.experiments.conftest import AUDITED
from tff_nlp.clients import cohorts
from tff_nlp.privacy import clipped_mean, noise


def audit_of(folder):
    return json.loads((folder / "result.json").read_text())["audit"]


@pytest.mark.thorough
def test_a_sound_run_ends_with_audit_and_claim(audited):
    found = audit_of(audited.folder)
    assert found["lower"] <= found["claimed"] and not found["refuted"]
    assert f"<= epsilon <= {found['claimed']:.3f}" in audited.ended.out
    # The canaries are clients, so that they count in the population.
    result = json.loads((audited.folder / "result.json").read_text())
    assert result["privacy"]["population"] == 124


@pytest.mark.thorough
def test_the_line_says_what_the_audit_could_have_found(audited):
    found = audit_of(audited.folder)
    assert found["confidence_of_all"] == 0.999
    assert 0.5 < found["finds_noise_below"] < 1 <= found["noise_at_most"] < 1.2
    assert found["counts_at_least"] < 1 < found["finds_counts_above"]
    assert 50 < found["newcomers"] <= 100
    line = re.search(r"^audit {5}(.*)$", audited.ended.out, re.M).group(1)
    assert f"audit {line}" == found["line"]
    for part in (
        f"It finds noise below {found['finds_noise_below']:.2f} of what is stated",
        f"clients that count more than {found['finds_counts_above']:.2f} times",
    ):
        assert part in line


@pytest.mark.thorough
def test_every_key_of_an_audit_is_documented(audited):
    keys = test_result.keys(audit_of(audited.folder), "audit")
    assert keys == test_result.documented("audit")


@pytest.mark.slow
def test_a_stopped_run_ends_with_the_same_audit(tmp_path, run_train, audited):
    """Releases before the stop are remembered; those that are computed again are the same."""
    folder = shutil.copytree(audited.stopped, tmp_path / "run")
    traces = folder / "private" / "traces.jsonl"
    assert len(traces.read_text().splitlines()) == AUDITED["rounds"]
    assert not (folder / "result.json").exists()
    assert traces.stat().st_mode & 0o777 == 0o600
    assert run_train(folder, **AUDITED).code == 0
    assert audit_of(folder) == audit_of(audited.folder)
    assert traces.read_text() == (audited.folder / "private" / "traces.jsonl").read_text()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("changes", "tested"),
    [
        ({"dp": "adaptive_clipping", "clipped_count_stddev": 2.0}, (True, True)),
        ({"dp": "tree_aggregation", "clients_per_round": 10}, (False, True)),
        ({"dp": "distributed", "rounds": 2}, (False, False)),
        ({"server_optimizer": "adam"}, (True, True)),
    ],
)
def test_what_is_tested_of_other_mechanisms(tmp_path, run_train, changes, tested):
    ended = run_train(tmp_path / "run", **{**AUDITED, "rounds": 3, **changes})
    assert ended.code == 0, ended.err
    found = audit_of(tmp_path / "run")
    assert not found["refuted"]
    assert tuple(found[n] is not None for n in ("noise_at_most", "counts_at_least")) == tested
    if found["noise_at_most"]:
        assert 1 <= found["noise_at_most"] < 1.2


def scale_noise(monkeypatch, factor):
    draw = noise.IndependentNoise.next
    monkeypatch.setattr(
        noise.IndependentNoise,
        "next",
        lambda self, state, specs, stddev, key: draw(self, state, specs, factor * stddev, key),
    )


def no_noise(monkeypatch):
    scale_noise(monkeypatch, 0.0)


def noise_times_071(monkeypatch):
    scale_noise(monkeypatch, 0.71)


def no_clipping(monkeypatch):
    def unclipped(self, norm, record):
        return clipped_mean.Clipped(record, tf.constant(-0.5))

    monkeypatch.setattr(clipped_mean.ClippedMean, "prepare", unclipped)


def everybody_in_every_round(monkeypatch):
    """Far more of each client than sampling allows."""
    drawn = cohorts.poisson_cohort

    def often(seed, round_number, population, sampling_rate):
        parts = [drawn(seed, 100 * round_number + n, population, sampling_rate) for n in range(9)]
        return [client for part in parts for client in part]

    monkeypatch.setattr(cohorts, "poisson_cohort", often)


def clipping_per_tensor(monkeypatch):
    whole = clipped_mean.clip

    def each(record, norm, grid):
        parts = [whole([part], norm, grid) for part in tf.nest.flatten(record)]
        flat = [update[0] for update, _ in parts]
        return tf.nest.pack_sequence_as(record, flat), parts[0][1]

    monkeypatch.setattr(clipped_mean, "clip", each)


NOISE, COUNTS = "the noise is at most", "a client counts at least"


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        pytest.param(noise_times_071, f"{NOISE} 0.7", marks=pytest.mark.slow),
        pytest.param(no_noise, NOISE, marks=pytest.mark.slow),
        pytest.param(no_clipping, COUNTS, marks=pytest.mark.slow),
        pytest.param(clipping_per_tensor, COUNTS, marks=pytest.mark.slow),
        pytest.param(everybody_in_every_round, "> epsilon", marks=pytest.mark.slow),
    ],
)
def test_a_planted_fault_fails_the_run(tmp_path, run_train, monkeypatch, fault, words):
    fault(monkeypatch)
    ended = run_train(tmp_path / "run", **AUDITED)
    assert ended.code == 1, ended.out
    assert words in ended.err and "do not publish" in ended.err
    assert audit_of(tmp_path / "run")["refuted"]


@pytest.mark.parametrize(
    ("changes", "flag"),
    [({"audit_canaries": 3}, "--audit_canaries=3"), ({"dp": "example_level"}, "--audit_canaries")],
)
def test_mistakes(tmp_path, run_train, changes, flag):
    ended = run_train(tmp_path / "run", **{**AUDITED, **changes})
    assert ended.code == 2 and flag in ended.err
