"""Canaries in real runs: quiet where the mechanism is sound, an alarm for each planted fault."""

import json

import pytest
import tensorflow as tf

from tests.experiments.conftest import AUDITED
from tff_nlp.clients import cohorts
from tff_nlp.privacy import clipped_mean, noise


def audit_of(folder):
    return json.loads((folder / "result.json").read_text())["audit"]


def test_a_sound_run_ends_with_audit_and_claim(audited):
    found = audit_of(audited.folder)
    assert found["lower"] <= found["claimed"] and not found["refuted"]
    assert f"<= epsilon <= {found['claimed']:.3f}" in audited.ended.out
    # The canaries are clients, so that they count in the population.
    result = json.loads((audited.folder / "result.json").read_text())
    assert result["privacy"]["population"] == 124


def scale_noise(monkeypatch, factor):
    draw = noise.IndependentNoise.next
    monkeypatch.setattr(
        noise.IndependentNoise,
        "next",
        lambda self, state, specs, stddev, key: draw(self, state, specs, factor * stddev, key),
    )


def no_noise(monkeypatch):
    scale_noise(monkeypatch, 0.0)


def tenth_of_the_noise(monkeypatch):
    scale_noise(monkeypatch, 0.1)


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


@pytest.mark.parametrize(
    "fault",
    [
        no_noise,
        pytest.param(no_clipping, marks=pytest.mark.slow),
        pytest.param(tenth_of_the_noise, marks=pytest.mark.slow),
        pytest.param(everybody_in_every_round, marks=pytest.mark.slow),
    ],
)
def test_a_planted_fault_fails_the_run(tmp_path, run_train, monkeypatch, fault):
    fault(monkeypatch)
    ended = run_train(tmp_path / "run", **AUDITED)
    assert ended.code == 1, ended.out
    assert "audit" in ended.err and "do not publish" in ended.err
    assert audit_of(tmp_path / "run")["refuted"]


@pytest.mark.parametrize(
    ("changes", "flag"),
    [({"audit_canaries": 3}, "--audit_canaries=3"), ({"dp": "example_level"}, "--audit_canaries")],
)
def test_mistakes(tmp_path, run_train, changes, flag):
    ended = run_train(tmp_path / "run", **{**AUDITED, **changes})
    assert ended.code == 2 and flag in ended.err
