"""scripts/benchmark_exports as a user calls it."""

import json
import pathlib

import pytest

from benchmarks import exports as benchmark
from tests.experiments.conftest import script
from tests.runs import finished_runs

SCRIPT = pathlib.Path(benchmark.__file__).parents[1] / "scripts" / "benchmark_exports"


@pytest.mark.slow
def test_rows_and_json(tmp_path):
    pytest.importorskip("onnxruntime", reason="the extra `export` is not installed")
    finished_runs.write(tmp_path / "run")
    file = tmp_path / "figures.json"
    ended = script(
        benchmark,
        f"--run={tmp_path / 'run'}",
        f"--file={tmp_path / 'run.csv'}",
        "--text_column=text",
        "--label_column=label",
        "--formats=savedmodel/float32,onnx/float32,onnx/int8",
        "--prune=0.5",
        "--repetitions=1",
        f"--json={file}",
    )
    assert ended.code == 0, ended.err
    rows = {row["model"]: row for row in json.loads(file.read_text())}
    assert list(rows) == [
        "savedmodel float32",
        "onnx float32",
        "onnx float32, 0.5 pruned",
        "onnx int8",
        "onnx int8, 0.5 pruned",
    ]
    sizes = [row["megabytes"] for row in rows.values()]
    assert sizes[1] > sizes[2] > sizes[4]
    # The same weights without rounding give the same labels.
    assert rows["onnx float32"]["accuracy"] == rows["savedmodel float32"]["accuracy"]
    assert all(row["one_ms"] > 0 and row["many_ms"] > 0 for row in rows.values())


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--file=x.csv"], "--run: must be given"),
        (["--run=x"], "--file: must be given"),
        (["--run=x", "--file=x", "--repetitions=0"], "--repetitions=0: must be 1 or more"),
    ],
)
def test_mistakes_are_one_line(flags, message):
    ended = script(benchmark, *flags)
    assert ended.code == 2
    assert message in ended.err
    assert ended.err.count("\n") == 1


def test_the_script_starts_it():
    assert "benchmarks.exports" in SCRIPT.read_text(encoding="utf-8")
    assert SCRIPT.stat().st_mode & 0o111
