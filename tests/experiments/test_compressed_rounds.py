"""--compression: fewer bytes, the same after a stop, a comparison, and what it does not go with."""

import json

import pytest

from experiments import compression
from tests.experiments import conftest
from tests.experiments.test_resume import check_same

SMALL = {"num_clients": 8, "rounds": 3, "client_test_fraction": 0, "compression": "top_k"}
PRIVATE = {"noise_multiplier": 1.0, "clients_per_round": 4}


@pytest.mark.slow
def test_a_stopped_run_with_kept_errors_ends_as_an_undisturbed_one(tmp_path, run_train):
    folder = tmp_path / "stopped"
    with conftest.copying(folder):
        ended = run_train(tmp_path / "whole", **SMALL)
    assert ended.code == 0, ended.err
    assert run_train(folder, **SMALL).code == 0
    check_same(folder, tmp_path / "whole", SMALL["rounds"])


@pytest.mark.slow
def test_a_comparison_draws_bytes_and_scores_and_continues(tmp_path):
    flags = {
        **conftest.TINY,
        "num_clients": 8,
        "rounds": 2,
        "compressions": "none,signs",
        "output_dir": tmp_path / "all",
    }
    ended = conftest.script(compression, *conftest.flags(flags))
    assert ended.code == 0, ended.err
    found = json.loads((tmp_path / "all" / "compression.json").read_text())["runs"]
    assert found["none"]["bytes_up"] > 20 * found["signs"]["bytes_up"]
    assert (tmp_path / "all" / "compression.png").exists()
    again = conftest.script(compression, *conftest.flags(flags))
    assert again.code == 0 and "finished" in again.out + again.err


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"compression": "zip"}, "--compression=zip"),
        ({"compression_fraction": 2}, "--compression_fraction=2.0: must be above 0"),
        ({"compression_rank": 0}, "--compression_rank=0"),
        ({"compression": "signs", "upload_bits": 8}, "--compression=signs sends single bits"),
        ({"algorithm": "mime_lite"}, "--algorithm=mime_lite keep nothing; take --error_feedback"),
        ({"algorithm": "scaffold"}, "--compression=top_k: alters the changes of control variates"),
        ({"dp": "distributed", **PRIVATE}, "--compression=top_k: --dp=distributed sends integers"),
        (
            {"dp": "gaussian", "sampling": "fixed", "adjacency": "replace_one", **PRIVATE},
            "--compression=top_k with --error_feedback: what a client sends depends",
        ),
        ({"secure_aggregation": "ckks"}, "--compression=top_k: --secure_aggregation=ckks"),
    ],
)
def test_mistakes_are_told_before_anything_runs(tmp_path, run_train, changes, message):
    ended = run_train(tmp_path / "run", **{**SMALL, **changes})
    assert ended.code == 2 and message in ended.err
    assert not (tmp_path / "run").exists()
