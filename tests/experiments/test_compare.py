"""experiments/compare.py on finished runs, and what it does not compare."""

import json

import pytest

from experiments import compare
from tests.experiments import conftest

SMALL = {"num_clients": 8, "rounds": 2, "client_test_fraction": 0}


@pytest.mark.slow
def test_two_methods_and_two_seeds(tmp_path, run_train):
    folders = []
    for algorithm in ("fedavg", "fedprox"):
        for seed in (0, 1):
            folders.append(tmp_path / f"{algorithm}{seed}")
            ended = run_train(folders[-1], algorithm=algorithm, seed=seed, **SMALL)
            assert ended.code == 0, ended.err
    to = tmp_path / "comparison"
    arguments = [f"--output_dir={to}", *map(str, folders)]
    ended = conftest.script(compare, *arguments, takes_arguments=True)
    assert ended.code == 0, ended.err
    found = json.loads((to / "comparison.json").read_text())
    assert list(found["different_settings"]) == ["algorithm"]
    assert [len(group["folders"]) for group in found["groups"]] == [2, 2]
    assert any("McNemar" in test["method"] for test in found["tests"])
    assert (to / "comparison.html").stat().st_size > 20_000
    for folder, run in zip(folders, found["runs"], strict=True):
        result = json.loads((folder / "result.json").read_text())
        assert run["accuracy"] == result["test"]["accuracy"]
        lines = (folder / "test_predictions.csv").read_text().splitlines()
        assert len(lines) == 1 + result["test"]["examples"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "two or more finished runs"),
        (["runs/a"], "two or more finished runs"),
        (["runs/a", "runs/a"], "runs/a: given twice"),
        (["nowhere", "nowhere2"], "compare.py: nowhere: there is no such folder"),
    ],
)
def test_mistakes_end_with_one_line(arguments, message):
    ended = conftest.script(compare, *arguments, takes_arguments=True)
    assert ended.code == 2 and len(ended.err.splitlines()) == 1
    assert message in ended.err
