"""--upload_bits: fewer bytes, the same bits again after a stop, and what it does not go with."""

import json

import pytest

from tests.experiments import conftest
from tests.experiments.test_resume import check_same

SMALL = {
    "num_clients": 8,
    "rounds": 3,
    "client_test_fraction": 0,
    "trainable": "head",
    "upload_bits": 4,
}
PRIVATE = {"noise_multiplier": 1.0, "clients_per_round": 4}


@pytest.mark.slow
def test_a_stopped_run_ends_as_an_undisturbed_one(tmp_path, run_train):
    folder = tmp_path / "stopped"
    with conftest.copying(folder):
        ended = run_train(tmp_path / "whole", **SMALL)
    assert ended.code == 0, ended.err
    assert run_train(folder, **SMALL).code == 0
    check_same(folder, tmp_path / "whole", SMALL["rounds"])
    found = json.loads((folder / "result.json").read_text())
    sent = found["bytes_per_client"]
    assert sent["down"] == 4 * found["trainable_parameters"]
    # Two numbers in a byte, of a kernel and a bias; a level's width for each, the client's weight.
    width = conftest.TINY["encoder_width"]
    assert sent["up"] == width * 2 / 2 + 2 / 2 + 2 * 4 + 4


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"upload_bits": 16}, "--upload_bits=16: must be 32, 8 or 4"),
        ({"aggregator": "norm_bound"}, "--upload_bits=4: it can make an update longer"),
        ({"dp": "distributed", **PRIVATE}, "--upload_bits=4: --dp=distributed sends integers"),
        ({"secure_aggregation": "plain"}, "--upload_bits=4: --secure_aggregation=plain"),
    ],
)
def test_mistakes_are_told_before_anything_runs(tmp_path, run_train, changes, message):
    ended = run_train(tmp_path / "run", **{**SMALL, **changes})
    assert ended.code == 2 and message in ended.err
    assert not (tmp_path / "run").exists()
