"""scripts/benchmark_rounds: its measurements, its figures and its failures."""

import json
import pathlib
import subprocess
import sys
import time

import numpy as np
import pytest

from benchmarks import (
    children,
    contenders,
    examples,
    figures,
    passes,
    process_tree,
    shapes,
    table,
    targets,
)
from benchmarks import rounds as benchmark_rounds
from benchmarks.children import Measurement
from experiments.command_line import entry
from tests.experiments import conftest
from tff_nlp.errors import UserError

ROOT = pathlib.Path(__file__).resolve().parents[2]

KEYS = {"shape": str, "context": str, "examples_per_second": float, "peak_rss_bytes": int}


def measurement(contender, *seconds, peak=1_000_000_000, first=9.0, cpu=1.0):
    return Measurement(contender, seconds, cpu, peak, "rss", first)


@pytest.mark.slow
def test_the_command(tmp_path):
    out = tmp_path / "figures.json"
    done = subprocess.run(
        [
            ROOT / "scripts" / "benchmark_rounds",
            "--shapes=micro_3x20",
            "--contexts=fit,streaming",
            "--passes=1",
            "--rounds=2",
            f"--json={out}",
        ],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    fit, streaming = json.loads(out.read_text())
    for record, context in ((fit, "fit"), (streaming, "streaming")):
        assert {name: type(record[name]) for name in KEYS} == KEYS
        assert (record["shape"], record["context"]) == ("micro_3x20", context)
        assert record["rounds"] == 2
        assert 0 < record["examples_per_second_min"] <= record["examples_per_second"]
        assert record["examples_per_second"] <= record["examples_per_second_max"]
        assert 3e8 < record["peak_rss_bytes"] < 3e9
        assert record["seconds_to_first_round"] > 1
        assert record["ratio_to_ceiling"] is None
    assert fit["ratio_to_fit"] == 1.0
    ratio = streaming["examples_per_second"] / fit["examples_per_second"]
    assert streaming["ratio_to_fit"] == pytest.approx(ratio)
    assert done.stderr.count("pass 1 of 1") == 2
    assert "micro_3x20\ncontext" in done.stdout
    assert f"{ratio:.2f}" in done.stdout


@pytest.mark.parametrize(
    ("argument", "part"),
    [
        ("--shapes=huge_10x64", "--shapes=huge_10x64: must be <size>_<clients>x<examples>"),
        ("--shapes=tiny_10", "--shapes=tiny_10"),
        ("--shapes=tiny_0x4", "--shapes=tiny_0x4"),
        ("--shapes=,", "--shapes=,: is empty"),
        (
            "--contexts=fit,flower",
            "--contexts=flower: must be one of fit, ceiling, streaming, streaming_bfloat16",
        ),
        ("--contexts=", "--contexts=: is empty"),
        ("--passes=0", "--passes=0: must be 1 or more"),
        ("--rounds=-1", "--rounds=-1"),
        ("--warm_up=0", "--warm_up=0"),
        ("--token_ids=real", "--token_ids"),
        ("--json=missing/figures.json", "--json=missing/figures.json: there is no folder"),
        ("--context=fit", "Did you mean"),
    ],
)
def test_bad_flags(argument, part, monkeypatch):
    monkeypatch.setattr(children, "measure", None)  # The error must come before any measurement.
    ended = conftest.script(benchmark_rounds, argument)
    assert (ended.code, ended.out) == (entry.USER_ERROR, "")
    assert ended.err.count("\n") == 1
    assert part in ended.err


def test_shapes():
    shape = shapes.parse("tiny_1000x16")
    assert (shape.clients, shape.examples, shape.total_examples) == (1000, 16, 16_000)
    assert (shape.size.layers, shape.size.width, shape.size.heads) == (2, 128, 2)
    with pytest.raises(UserError):
        shapes.parse("tiny_10x16 ")


@pytest.mark.parametrize("distribution", examples.DISTRIBUTIONS)
def test_examples(distribution):
    shape = shapes.parse("micro_3x20")
    drawn = examples.draw(shape, distribution)
    assert drawn.tokens.shape == (3, 20, shapes.LENGTH)
    assert drawn.tokens.min() > examples.PAD_ID
    assert drawn.tokens.max() < shape.size.vocabulary
    assert set(np.unique(drawn.labels)) == {0, 1}
    np.testing.assert_array_equal(examples.draw(shape, distribution).tokens, drawn.tokens)
    assert [len(tokens) for tokens, _ in drawn.batches()] == [16, 4, 16, 4, 16, 4]
    frequent = np.mean(drawn.tokens < shape.size.vocabulary // 10)
    assert frequent > 0.5 if distribution == "zipf" else 0.08 < frequent < 0.12


@pytest.fixture
def fake_measure(monkeypatch):
    """Replaces the measuring processes, and returns the list of calls."""
    calls = []

    def measure(contender, shape_name, token_ids, rounds, warm_up):
        calls.append((shape_name, contender, token_ids, rounds, warm_up))
        if contender == "tff":
            raise children.MeasurementError("IndexError: 7")
        if contender == "ceiling_threads" and shape_name.startswith("base"):
            raise children.TooLargeError("9.9 GB and rising")
        return measurement(contender, *[{"ceiling_processes": 0.5}.get(contender, 1.0)] * rounds)

    monkeypatch.setattr(children, "measure", measure)
    return calls


def test_passes_go_through_all_contenders_in_turn(fake_measure, tmp_path):
    out = tmp_path / "figures.json"
    ended = conftest.script(
        benchmark_rounds,
        "--shapes=tiny_10x16,tiny_1000x16",
        "--contexts=fit,ceiling,fit,streaming",
        "--passes=2",
        "--rounds=3",
        "--token_ids=zipf",
        f"--json={out}",
    )
    assert ended.code == 0, ended.err
    once = ["fit", "ceiling_threads", "ceiling_processes", "streaming"]
    assert [call[1] for call in fake_measure] == once * 4
    assert {call[2:] for call in fake_measure} == {("zipf", 3, 2)}
    records = json.loads(out.read_text())
    assert [(r["shape"], r["context"]) for r in records] == [
        (shape, context)
        for shape in ("tiny_10x16", "tiny_1000x16")
        for context in ("fit", "ceiling", "streaming")
    ]
    ceiling = records[1]
    assert (ceiling["variant"], ceiling["examples_per_second"]) == ("ceiling_processes", 320.0)
    assert ceiling["examples_per_second_of_slower_variants"] == {"ceiling_threads": 160.0}
    assert records[2]["ratio_to_ceiling"] == 0.5
    assert "ceiling is ceiling_processes; ceiling_threads: 160" in ended.out
    assert (
        "met    peak memory of streaming, tiny_1000x16 / tiny_10x16: 1.00 (at most 1.1)"
        in ended.out
    )


def test_a_contender_that_fails_does_not_stop_the_others(fake_measure, tmp_path):
    out = tmp_path / "figures.json"
    ended = conftest.script(
        benchmark_rounds, "--shapes=tiny_10x64", "--contexts=tff,streaming", f"--json={out}"
    )
    assert ended.code == entry.RUN_ERROR
    assert ended.err.splitlines()[-1] == ("rounds.py: 1 failed: tiny_10x64, tff: IndexError: 7")
    assert [call[1] for call in fake_measure].count("tff") == 1
    assert [r["context"] for r in json.loads(out.read_text())] == ["streaming"]


def test_a_contender_that_is_too_large_is_noted(fake_measure):
    ended = conftest.script(benchmark_rounds, "--shapes=base_4x8", "--contexts=ceiling,fit")
    assert ended.code == 0
    assert [call[1] for call in fake_measure].count("ceiling_threads") == 1
    assert "not measured: base_4x8, ceiling_threads: 9.9 GB and rising\n" in ended.out
    assert "ceiling is ceiling_processes\n" in ended.out


def test_ray_that_is_not_installed_is_one_line(fake_measure, monkeypatch):
    monkeypatch.setattr(benchmark_rounds.importlib.util, "find_spec", lambda name: None)
    ended = conftest.script(
        benchmark_rounds, "--shapes=micro_1x1", "--contexts=ray,streaming", "--passes=1"
    )
    assert ended.code == 0
    assert ended.err.startswith("ray is left out, it is not installed: EXTRAS=ray scripts/setup\n")
    assert ended.err.count("ray") == 2
    assert [call[1] for call in fake_measure] == ["streaming"]


def test_medians_are_over_all_rounds():
    shape = shapes.parse("tiny_1x10")
    found = figures.summarize(
        shape,
        [
            measurement("fit", 1.0, 2.0, cpu=4.0),
            measurement("fit", 5.0, 10.0, peak=2_000_000_000, first=11.0, cpu=2.0),
            measurement("tff", 20.0),
        ],
    )
    fit, tff = figures.to_json(found)
    assert fit["examples_per_second"] == 3.5
    assert (fit["examples_per_second_min"], fit["examples_per_second_max"]) == (1.0, 10.0)
    assert fit["examples_per_second_by_pass"] == [10 / 1.5, 10 / 7.5]
    assert (fit["peak_rss_bytes"], fit["seconds_to_first_round"]) == (2_000_000_000, 10.0)
    assert fit["cpu_seconds_per_round"] == 1.5
    assert tff["ratio_to_fit"] == 0.5 / 3.5
    assert "-" in table.table(found[1:]).splitlines()[1]


def verdicts(shape_name, **seconds):
    shape = shapes.parse(shape_name)
    found = [measurement(contender, value) for contender, value in seconds.items()]
    return {v.subject.split(": ")[1]: v.met for v in targets.judge(figures.summarize(shape, found))}


def test_targets():
    assert verdicts("tiny_10x64", streaming=1.0, fit=1.11, tff=2.9, ray_1=1.2) == {
        "streaming / fit": True,
        "streaming / tff": False,
        "ray_1 / streaming": False,
        "peak memory of streaming": True,
        "first streaming round": True,
    }
    # The shape's own target, not the general one.
    assert verdicts("tiny_40x16", streaming=1.0, fit=0.96, tff=4.0)["streaming / tff"] is False
    assert verdicts("minilm_10x32", streaming=1.0, fit=0.9)["streaming / fit"] is False
    assert verdicts("base_4x8", streaming=1.0, fit=1.0) == {}
    assert verdicts("micro_4x8", streaming=1.0, tff=1.0, ray_1=2.0) == {}
    assert verdicts("base_100x8", streaming=1.0) == {"peak memory of streaming": True}


SPAWN = """
import subprocess, sys, time
held = bytearray(b"x" * {size})
if {depth}:
    subprocess.Popen([sys.executable, "-c", {inner!r}])
print("ready", flush=True)
while True:
    time.sleep(60)
"""


def test_a_process_tree_is_measured_and_ended():
    inner = SPAWN.format(size=60_000_000, depth=0, inner="")
    outer = SPAWN.format(size=40_000_000, depth=1, inner=inner)
    began = time.monotonic()
    with subprocess.Popen([sys.executable, "-c", outer], stdout=subprocess.PIPE) as process:
        tree = process_tree.ProcessTree(process.pid)
        assert process.stdout.readline() == b"ready\n"
        assert process.stdout.readline() == b"ready\n"  # of the grandchild, which shares it
        for _ in range(6):
            tree.sample()
        assert tree.measure in ("pss", "sum of rss")
        assert 100e6 < tree.peak_bytes < 140e6
        # Two processes with one thread each.
        assert 0 < tree.cpu_seconds() <= 2 * (time.monotonic() - began)
        tree.end()
        # The pipe closes only when the last process of the tree has ended.
        assert process.stdout.read() == b""


def test_a_failed_measuring_process_gives_the_reason(monkeypatch, tmp_path):
    monkeypatch.setattr(children.tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(children.Task, "to_json", lambda self: "{}")
    with pytest.raises(children.MeasurementError, match="missing 5 required") as failed:
        children.measure("fit", "micro_1x1", "uniform", 1, 1)
    (log,) = tmp_path.iterdir()
    assert str(log) in str(failed.value)
    assert "Traceback" in log.read_text()


def test_a_measuring_process_that_stops_early_is_a_failure(monkeypatch, tmp_path):
    monkeypatch.setattr(children.tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(children.sys, "executable", "true")
    with pytest.raises(children.MeasurementError, match="exit code 0"):
        children.measure("fit", "micro_1x1", "uniform", 1, 1)


def test_a_killed_measuring_process_gives_the_signal(monkeypatch, tmp_path):
    killed = tmp_path / "python"
    killed.write_text("#!/bin/sh\necho some warning >&2\nsleep 0.2\nkill -9 $$\n")
    killed.chmod(0o755)
    monkeypatch.setattr(children.tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(children.sys, "executable", str(killed))
    with pytest.raises(
        children.MeasurementError, match=r"ended by SIGKILL, after a peak of 0\.0 GB"
    ):
        children.measure("fit", "micro_1x1", "uniform", 1, 1)


def test_a_measuring_process_that_does_not_end_is_measured(monkeypatch, tmp_path):
    endless = tmp_path / "python"
    line = json.dumps({"seconds": 0.5, "since_start": 1.0})
    endless.write_text(f"#!/bin/sh\necho '{line}'\necho '{line}'\nexec sleep infinity >&-\n")
    endless.chmod(0o755)
    monkeypatch.setattr(children.sys, "executable", str(endless))
    monkeypatch.setattr(children, "_PATIENCE", 0.2)
    assert children.measure("fit", "micro_1x1", "uniform", 1, 1).seconds == (0.5,)


def test_a_measuring_process_does_not_take_the_last_memory(monkeypatch):
    assert 0 < process_tree.free_memory_share() < 1
    monkeypatch.setattr(process_tree, "free_memory_share", lambda: 0.04)
    with pytest.raises(children.TooLargeError, match="needs more memory than there is"):
        children.measure("fit", "micro_1x1", "uniform", 1, 1)


def test_every_variant_has_a_description():
    variants = {v for names in contenders.CONTEXTS.values() for v in names}
    described = {"ceiling" if v.startswith("ceiling_") else v for v in variants}
    assert described == set(contenders.DESCRIPTIONS)
    assert passes.Plan(1, 1, 1, "uniform").passes == 1


@pytest.fixture
def without_dropout(monkeypatch):
    monkeypatch.setattr(shapes, "DROPOUT", 0.0)


@pytest.mark.slow
def test_all_contenders_train_the_same_model(without_dropout):
    from benchmarks import keras_fit, models, plain_loop

    shape = shapes.parse("micro_2x20")
    cohort = examples.draw(shape, "zipf")
    model = models.build_classifier(shape.size)
    stock = models.build_keras_model(shape.size)
    own = model.keras_model
    assert [w.shape for w in stock.weights] == [w.shape for w in own.weights]
    stock.set_weights(own.get_weights())
    tokens = cohort.tokens[0]
    np.testing.assert_allclose(stock(tokens), own(tokens), atol=1e-5)

    # There are two sizes of batches, in the order in which the loop runs them.
    batches = sorted(cohort.batches(), key=lambda batch: len(batch[0]))
    run_round, variables = plain_loop.build_loop(model, batches)
    run_round(0)
    before, _ = model.initial_weights()
    times = []
    keras_fit.fit(own, batches, 1, times.append)
    assert len(times) == 1
    after, _ = model.initial_weights()  # now those that `fit` left
    for expected, variable in zip(after, variables, strict=True):
        np.testing.assert_allclose(variable.numpy(), expected, atol=1e-6)
    assert max(np.abs(a - b).max() for a, b in zip(before, after, strict=True)) > 1e-4
