"""Attackers, robust aggregators and devices in whole runs."""

import csv
import json
import re

import pytest

from experiments import robustness
from tests.experiments import conftest, test_result

SMALL = {"num_clients": 8, "client_test_fraction": 0, "rounds": 2, "trainable": "head"}


@pytest.fixture(scope="module")
def attacked(tmp_path_factory, run_train):
    folder = tmp_path_factory.mktemp("attacked") / "run"
    ended = run_train(
        folder,
        **SMALL,
        attack="backdoor",
        backdoor_label="good",
        aggregator="median",
        device_profiles="equal",
        over_selection=1.5,
    )
    assert ended.code == 0, ended.err
    return folder, ended


@pytest.mark.thorough
def test_the_result_says_who_attacked_and_how_long_it_took(attacked):
    folder, ended = attacked
    found = json.loads((folder / "result.json").read_text())
    for part in ("attack", "clock"):
        have = {key for key in test_result.keys(found) if key.split(".")[0] == part}
        assert have == test_result.documented(part)
    assert (found["attack"]["attackers"], found["attack"]["clients"]) == (2, 8)
    assert found["backdoor"]["examples"] == found["attack"]["backdoor_texts"]
    assert found["backdoor"]["accuracy"] == found["attack"]["backdoor_success"]
    assert (found["clock"]["asked"], found["clock"]["arrived"]) == (12, 8)
    assert f"attack    {found['attack']['line']}" in ended.out
    assert f"clock     {found['clock']['line']}" in ended.out
    assert (folder / "clock.png").exists()
    with (folder / "metrics.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert float(rows[-1]["virtual_seconds"]) == found["clock"]["seconds"]


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({"aggregator": "bulyan"}, "--clients_per_round=2: --aggregator=bulyan needs 3 or more"),
        (
            {"aggregator": "krum", "clients_per_round": 4, "byzantine_clients": 1},
            r"--byzantine_clients=1: --aggregator=krum needs 2 f \+ 3 clients",
        ),
        (
            {"aggregator": "krum", "clients_per_round": 4, "weighting": "examples"},
            "--aggregator=krum: it compares .* take --weighting=uniform",
        ),
        ({"aggregator": "median", "dp": "gaussian", "noise_multiplier": 1}, "take --dp=none"),
        (
            {"aggregator": "norm_bound", "upload_bits": 8},
            "--upload_bits=8: it can make an update longer",
        ),
        (
            {"aggregator": "median", "max_update_gigabytes": 1e-7},
            "it holds 4 copies of all updates of a round, 2 of 0.0 MB",
        ),
        ({"attack": "alie", "algorithm": "ditto"}, "--attack=alie: its attackers know"),
        (
            {"attack": "backdoor", "backdoor_label": "fine"},
            "--backdoor_label=fine: .*reviews.csv has the labels bad, good",
        ),
        ({"round_deadline": 5}, "--round_deadline=5.0: needs a clock; give --device_profiles"),
        (
            {"algorithm": "fedbuff", "over_selection": 2},
            "--over_selection=2.0: --algorithm=fedbuff does not wait",
        ),
        (
            {"algorithm": "fedbuff", "concurrency": 7},
            "--concurrency=7: fedbuff needs 9 clients for it and --clients_per_round=2",
        ),
        (
            {"device_profiles": "equal", "dp": "gaussian", "noise_multiplier": 1},
            "--device_profiles: devices decide which clients take part",
        ),
        ({"device_profiles": "none.csv"}, "--device_profiles=none.csv: .*No such file"),
        ({"stragglers": "partial"}, "--stragglers=partial: needs a --round_deadline"),
    ],
)
def test_what_does_not_go_together_is_one_line(tmp_path, run_train, flags, message):
    ended = run_train(tmp_path / "run", **{**SMALL, "clients_per_round": 2, **flags})
    assert ended.code == 2, ended.out
    assert len(ended.err.splitlines()) == 1
    assert re.search(message, ended.err), ended.err
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_a_matrix_goes_on_where_it_was_stopped(tmp_path, reviews, cache):
    flags = {
        **conftest.TINY,
        **SMALL,
        "corpus": reviews,
        "cache_dir": cache,
        "output_dir": tmp_path / "matrix",
        "attacks": "none,alie",
        "aggregators": "norm_bound,median",
    }
    first = conftest.script(robustness, *conftest.flags({**flags, "attacks": "none"}))
    assert first.code == 0, first.err
    whole = conftest.script(robustness, *conftest.flags(flags))
    assert whole.code == 0, whole.err
    assert whole.out.count("nothing to do") == 2
    found = json.loads((tmp_path / "matrix" / "robustness.json").read_text())
    assert found["cells"]["alie"]["norm_bound"]["refused"].startswith("--attack=alie: ")
    for attack, aggregator in (("none", "norm_bound"), ("none", "median"), ("alie", "median")):
        cell = found["cells"][attack][aggregator]
        result = json.loads((tmp_path / "matrix" / cell["folder"] / "result.json").read_text())
        assert cell["score"] == result["test"]["accuracy"]
    assert (tmp_path / "matrix" / "robustness.png").exists()
