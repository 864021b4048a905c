"""What careless users give: one clear line on stderr, exit code 2, nothing written.

All of this is told before TensorFlow is loaded; the rest is in test_failures.py.
"""

import gzip
import json
import os
import pathlib
import subprocess
import sys

import pytest

from experiments import epsilon
from tests.experiments import conftest

ROOT = pathlib.Path(__file__).resolve().parents[2]


def refused(ended, folder):
    """Returns the one line, after checking everything that holds for every mistake."""
    assert ended.code == 2
    assert ended.err.count("\n") == 1
    assert ended.err.startswith("train.py: ")
    assert "Traceback" not in ended.err
    assert not folder.exists()
    return ended.err.removeprefix("train.py: ")


CORPORA = {
    "empty": ("", {}, "empty"),
    "header only": ("text,label\n", {}, "no usable rows"),
    "unknown column": ("body,label\ngood,1\nbad,0\n", {}, "--text_column is needed"),
    "wrong column": (
        "text,label\ngood,1\nbad,0\n",
        {"label_column": "stars"},
        "--label_column=star",
    ),
    "wrong client column": (
        "text,label\ng,1\nb,0\n",
        {"client_column": "who"},
        "--client_column=who",
    ),
    "one label": ("text,label\ngood,1\nbad,1\n", {}, "the one label '1'"),
    "label outside the map": (
        "text,label\ngood,5\nbad,1\nso,3\n",
        {"label_map": "5:pos,1:neg"},
        "line 4: --label_map has no entry for the label '3'",
    ),
    "a client without text": (
        "text,label,who\ngood,1,ann\n,0,bob\nbad,0,ann\n",
        {"client_column": "who"},
        "line 3: empty text",
    ),
    "all texts empty": ("text,label\n,1\n ,0\n", {"bad_rows": "skip"}, "2 empty text"),
    "10,000 labels": (
        "text,label\n" + "".join(f"text {n},{n}\n" for n in range(10_000)),
        {},
        "more than 1000 labels",
    ),
    "undecodable": (b"text,label\ngood,1\ncaf\xe9,0\n", {}, "line 3: undecodable bytes"),
    "an open quote": ('text,label\n"good,1\nbad,0\n', {}, "a quote opens here and never closes"),
    "too few columns": ("text,label\ngood,1\nbad\n", {}, "line 3: wrong column count"),
    "not a text file": (gzip.compress(b"text,label\n"), {}, "--text_column is needed"),
}


@pytest.mark.parametrize("name", CORPORA)
def test_corpora(tmp_path, run_train, name):
    content, flags, part = CORPORA[name]
    path = tmp_path / "mine.csv"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    message = refused(run_train(tmp_path / "run", corpus=path, **flags), tmp_path / "run")
    assert part in message
    assert "mine.csv" in message or "--" in message


def test_a_test_corpus_with_unknown_labels(tmp_path, run_train):
    test = tmp_path / "test.csv"
    test.write_text("text,label\nsuperb,good\nso so,medium\n")
    message = refused(run_train(tmp_path / "run", test_corpus=test), tmp_path / "run")
    assert "test.csv, line 3: the training corpus has no label 'medium'" in message


@pytest.mark.parametrize(
    ("flags", "part"),
    [
        ({"corpus": "missing.csv"}, "--corpus=missing.csv: no such file"),
        ({"test_corpus": "missing.csv"}, "--test_corpus=missing.csv: no such file"),
        ({"corpus": "imdb"}, "the names of corpora are"),
        ({"clients_per_round": 13}, "--clients_per_round=13: there are only 12 training clients"),
        ({"num_clients": 301}, "--num_clients=301: there are only 240 examples"),
        ({"dirichlet_alpha": 0}, "--dirichlet_alpha=0.0: must be above 0"),
        ({"dirichlet_alpha": -0.5, "partition": "dirichlet"}, "--dirichlet_alpha=-0.5"),
        ({"partition": "natural"}, "--client_column"),
        ({"min_examples_per_client": 100}, "--min_examples_per_client=100"),
        ({"held_out_fraction": 0.99}, "--held_out_fraction=0.99"),
        ({"trainable": "everything"}, "--trainable=everything: must be auto, all"),
        ({"encoder": "bert.safetensors", "max_tokens": 5000}, "--max_tokens=5000"),
        ({"rounds": "many"}, "--rounds=many"),
        ({"rounds": 0}, "--rounds=0: must be 1 or more"),
        ({"sampling": "some"}, "--sampling"),
        ({"round": 3}, "Did you mean: round_deadline, rounds"),
        ({"flagfile": "missing.flags"}, "missing.flags"),
        ({"client_learning_rate": -1}, "--client_learning_rate=-1.0"),
    ],
)
def test_flags(tmp_path, run_train, flags, part):
    assert part in refused(run_train(tmp_path / "run", **flags), tmp_path / "run")


def test_a_place_that_cannot_be_written(tmp_path, run_train):
    (tmp_path / "file").write_text("mine")
    for place in ("file", "file/run"):
        ended = run_train(tmp_path / place)
        assert (ended.code, ended.err.count("\n"), ended.out) == (2, 1, "")
        assert f"--output_dir={tmp_path / place}: cannot be written" in ended.err
    assert (tmp_path / "file").read_text() == "mine"


def test_a_folder_of_something_else(tmp_path, run_train):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "thesis.tex").write_text("mine")
    ended = run_train(tmp_path / "run")
    assert (ended.code, ended.err.count("\n")) == (2, 1)
    assert "holds thesis.tex but no config.json" in ended.err
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["thesis.tex"]


@pytest.mark.parametrize(
    ("change", "part"),
    [
        ({"rounds": 2}, "--rounds=3, not --rounds=2"),
        ({"seed": 1}, "--seed=0, not --seed=1"),
        ({"max_train_examples": 100}, "--max_train_examples=, not --max_train_examples=100"),
        ({"client_momentum": 0.1, "client_optimizer": "sgd"}, "--client_optimizer=adamw"),
    ],
)
def test_the_folder_of_another_configuration(finished, run_train, change, part):
    before = (finished.folder / "config.json").read_bytes()
    values = {**finished.flags, "client_weight_decay": 0, **change}
    if "client_optimizer" not in change:
        values["client_weight_decay"] = finished.flags["client_weight_decay"]
    ended = run_train(finished.folder, **values)
    assert (ended.code, ended.err.count("\n")) == (2, 1)
    assert part in ended.err
    assert (finished.folder / "config.json").read_bytes() == before


def test_the_folder_of_another_script(finished, finished_centrally, run_train, run_central):
    for ended in (run_train(finished_centrally.folder), run_central(finished.folder)):
        assert (ended.code, ended.err.count("\n")) == (2, 1)
        assert "holds a run of another script" in ended.err


def test_texts_that_changed_since(tmp_path, run_train, finished, reviews):
    before = reviews.read_bytes()
    try:
        reviews.write_bytes(before.replace(b"superb", b"poor", 1))
        ended = run_train(finished.folder, **finished.flags)
    finally:
        reviews.write_bytes(before)
    assert ended.code == 2
    assert "holds a run on other texts" in ended.err


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        ((), "--run is needed"),
        (("--run=missing", "text"), "--run=missing: there is no such folder"),
        (("--run={finished}", "--file=missing.txt"), "--file=missing.txt: no such file"),
        (("--run={finished}", "--file=a.txt", "text"), "give texts in a file or as arguments"),
        (
            ("--run={finished}", "--file={finished}/curves.png"),
            "curves.png, line 1: undecodable bytes",
        ),
        (("--run={finished}", "--file={finished}/metrics.csv"), "--text_column is needed"),
        (("--run={finished}", "--output={finished}/metrics.csv", "x"), "nothing is overwritten"),
        (("--run={finished}", "--output={finished}/none/x.csv", "x"), "there is no folder"),
        (("--run={finished}/tensorboard", "text"), "not a saved model"),
        (("--run={finished}", "--batch_size=0", "text"), "batch_size"),
    ],
)
def test_predict(finished, run_predict, arguments, part):
    ended = run_predict(*(a.format(finished=finished.folder) for a in arguments))
    assert (ended.code, ended.out, ended.err.count("\n")) == (2, "", 1)
    assert part in ended.err


def test_predict_on_a_run_that_goes_on(tmp_path, run_predict):
    (tmp_path / "config.json").write_text("{}")
    assert "has no model yet" in run_predict(f"--run={tmp_path}", "text").err
    (tmp_path / "result.json").write_text("{}")
    assert run_predict(f"--run={tmp_path}", "text").err.endswith(f"{tmp_path}: has no model\n")


# Runs scripts one after the other, each as its command line would.
_SCRIPTS = """
import json, runpy, sys
for script, argument in json.loads(sys.argv[1]):
    sys.argv = [script, argument]
    print("begins", file=sys.stderr)
    try:
        runpy.run_path(script, run_name="__main__")
    except SystemExit as end:
        print("loaded", "tensorflow" in sys.modules, "code", end.code)
"""


def test_mistakes_are_told_before_tensorflow_is_loaded(tmp_path):
    cases = [
        ("train.py", "--client_learning_rate=-1"),
        ("train.py", "--trainable=some"),
        ("train.py", "--corpus=missing.csv"),
        ("train.py", "--clients_per_round=1000"),
        ("train_centralized.py", "--corpus=missing.csv"),
        ("predict.py", "--run="),
    ]
    calls = json.dumps([(str(ROOT / "experiments" / script), a) for script, a in cases])
    # The small task plays no part here: the demo's defaults do.
    done = subprocess.run(
        [sys.executable, "-c", _SCRIPTS, calls],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    ends = [line for line in done.stdout.splitlines() if line.startswith("loaded")]
    assert ends == ["loaded False code 2"] * len(cases)
    told = [lines.splitlines() for lines in done.stderr.split("begins\n")[1:]]
    for (script, _), lines in zip(cases, told, strict=True):
        assert len(lines) == 1 and lines[0].startswith(f"{script}: ")


@pytest.mark.parametrize("value", ["1e308", "1e-320", "1e7", "-1", "nan"])
def test_noise_that_no_accountant_can_compute_with(tmp_path, run_train, value):
    ended = run_train(tmp_path / "run", dp="gaussian", noise_multiplier=value)
    assert (ended.code, ended.err.count("\n")) == (2, 1)
    assert "must be 0, or from 1e-06 to 1e+06" in ended.err
    asked = ["--population=100", "--clients_per_round=10", "--rounds=5", "--delta=0.01"]
    ended = conftest.script(epsilon, *asked, f"--noise_multiplier={value}")
    assert (ended.code, ended.out, ended.err.count("\n")) == (2, "", 1)
    assert "must be 0, or from 1e-06 to 1e+06" in ended.err


@pytest.mark.parametrize(
    "flag",
    ["corpus", "test_corpus", "label_file", "tfds_data_dir", "encoder", "output_dir", "cache_dir"],
)
@pytest.mark.parametrize(
    ("name", "part"),
    [("n" * 300, "File name too long"), ("caf\udce9", "is not UTF-8"), (",", "names nothing")],
)
def test_names_that_no_file_can_have(tmp_path, run_train, flag, name, part):
    ended = run_train(**{"output_dir": tmp_path / "run", flag: name})
    assert (ended.code, ended.out, ended.err.count("\n")) == (2, "", 1)
    assert ended.err.startswith(f"train.py: --{flag}=")
    assert part in ended.err
    assert list(tmp_path.iterdir()) == []
