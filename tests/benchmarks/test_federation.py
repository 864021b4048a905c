"""The benchmark of a federation: its flags, and a measurement with a tiny encoder."""

import json
import subprocess

import pytest

from benchmarks import federation
from tests.models import conftest as tiny
from tests.runs.test_federation import write_encoder
from tests.serving.service.conftest import ROOT
from tff_nlp.errors import UserError


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"silos": "10,none"}, "--silos=10,none: must be numbers"),
        ({"secure_aggregation": "ckks"}, "--secure_aggregation=ckks: must be none, masked"),
        ({"rounds": 1}, "rounds=1: must be 2 or more"),
    ],
)
def test_mistakes(values, reason):
    with pytest.raises(UserError, match=reason):
        federation.FederationFlags(**values)


@pytest.mark.slow
def test_both_ways_have_the_stated_bytes(tmp_path):
    assert tiny.CHECKPOINT_CONFIG["hidden_size"] < 100
    figures = tmp_path / "figures.json"
    done = subprocess.run(
        [
            ROOT / "scripts" / "benchmark_federation",
            f"--encoder={write_encoder(tmp_path / 'encoder')}",
            "--max_tokens=10",
            "--silos=6",
            "--texts=8",
            "--rounds=2",
            f"--json={figures}",
        ],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    plain, masked = json.loads(figures.read_text())
    assert (plain["secure_aggregation"], masked["secure_aggregation"]) == ("none", "masked")
    assert plain["bytes_down_per_silo"] < masked["bytes_down_per_silo"]
    assert min(plain["seconds"], plain["simulated_seconds"], masked["seconds"]) > 0
    assert min(plain["coordinator_peak_bytes"], masked["coordinator_peak_bytes"]) > 1e8
