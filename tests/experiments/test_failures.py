"""What goes wrong after TensorFlow is loaded: encoders, checkpoints, NaN, Ctrl-C, noise."""

import json
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import safetensors.numpy

from tests.experiments import conftest
from tff_nlp.program import run_directory

ROOT = pathlib.Path(__file__).resolve().parents[2]
WORDS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "great", "awful", "phone", "the")


def one_line(ended, code=2):
    assert ended.code == code
    assert "Traceback" not in ended.err
    lines = [line for line in ended.err.splitlines() if line.startswith("train.py: ")]
    assert len(lines) == 1
    assert ended.err.splitlines()[-1] == lines[0]
    return lines[0]


def tensors(width=16, layers=1):
    shapes = {
        "embeddings.word_embeddings.weight": (len(WORDS), width),
        "embeddings.position_embeddings.weight": (12, width),
        "embeddings.token_type_embeddings.weight": (2, width),
    }
    norms = ["embeddings.LayerNorm"]
    for layer in range(layers):
        prefix = f"encoder.layer.{layer}."
        norms += [prefix + "attention.output.LayerNorm", prefix + "output.LayerNorm"]
        dense = {
            "attention.self.query": (width, width),
            "attention.self.key": (width, width),
            "attention.self.value": (width, width),
            "attention.output.dense": (width, width),
            "intermediate.dense": (2 * width, width),
            "output.dense": (width, 2 * width),
        }
        for name, shape in dense.items():
            shapes[f"{prefix}{name}.weight"] = shape
            shapes[f"{prefix}{name}.bias"] = shape[:1]
    for name in norms:
        shapes[f"{name}.weight"] = shapes[f"{name}.bias"] = (width,)
    generator = np.random.default_rng(0)
    return {
        name: (generator.standard_normal(shape) * 0.1).astype(np.float32)
        for name, shape in shapes.items()
    }


@pytest.fixture
def checkpoint(tmp_path):
    """Writes a Hugging Face checkpoint of these tensors and returns its folder."""

    def write(values, **sizes):
        folder = tmp_path / "encoder"
        folder.mkdir()
        config = {
            "model_type": "bert",
            "hidden_act": "gelu",
            "vocab_size": len(WORDS),
            "hidden_size": 16,
            "num_hidden_layers": 1,
            "num_attention_heads": 2,
            "intermediate_size": 32,
            "max_position_embeddings": 12,
            "type_vocab_size": 2,
            "layer_norm_eps": 1e-12,
            "hidden_dropout_prob": 0.1,
            "attention_probs_dropout_prob": 0.1,
            **sizes,
        }
        (folder / "config.json").write_text(json.dumps(config))
        (folder / "vocab.txt").write_text("\n".join(WORDS) + "\n")
        safetensors.numpy.save_file(values, folder / "model.safetensors")
        return folder

    return write


LARGE = "encoder.layer.0.output.dense.weight"


@pytest.mark.parametrize(
    ("change", "flags", "part"),
    [
        (lambda t: t.pop(LARGE), {}, "output.dense.weight"),
        (lambda t: t.update({LARGE: t[LARGE].T.copy()}), {}, "output.dense.weight"),
        (lambda t: None, {"max_tokens": 16}, "--max_tokens=16: the encoder reads at most 12"),
        (lambda t: None, {"trainable": "top_2"}, "--trainable=top_2: the encoder has 1 layers"),
        (lambda t: None, {"pooling": "pooler"}, "--pooling=pooler: "),
    ],
    ids=["missing tensor", "another shape", "max_tokens", "trainable", "pooling"],
)
def test_an_encoder_that_does_not_fit(tmp_path, run_train, checkpoint, change, flags, part):
    values = tensors()
    change(values)
    folder = checkpoint(values)
    ended = run_train(tmp_path / "run", encoder=folder, **{"max_tokens": 12, **flags})
    assert part in one_line(ended)
    # The folder is still free for the same command with the mistake mended.
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    "sizes",
    [{"hidden_size": 2**40}, {"num_hidden_layers": 10**8}, {"vocab_size": 10**12}],
)
def test_an_encoder_of_absurd_size(tmp_path, run_train, checkpoint, sizes):
    """It is refused before any memory is taken for it."""
    folder = checkpoint(tensors(), **sizes)
    ended = run_train(tmp_path / "run", encoder=folder, max_tokens=12)
    assert "model.safetensors has room for" in one_line(ended)
    assert not (tmp_path / "run").exists()


def test_an_encoder_that_is_not_there(tmp_path, run_train):
    ended = run_train(tmp_path / "run", encoder="bert_huge")
    assert "--encoder=bert_huge: " in one_line(ended)
    assert not (tmp_path / "run").exists()


def test_warm_up_longer_than_the_run(tmp_path, run_train):
    ended = run_train(tmp_path / "run", decay_learning_rate=True, warmup_rounds=3)
    assert "--warmup_rounds=3" in one_line(ended)


@pytest.mark.slow
def test_a_learning_rate_that_diverges(tmp_path, run_train):
    folder = tmp_path / "run"
    flags = {"client_optimizer": "sgd", "client_learning_rate": 1e18, "rounds": 6, "eval_every": 9}
    ended = run_train(folder, **flags)
    line = one_line(ended, code=1)
    found = re.search(r"round (\d+): .*NaN.*--client_learning_rate", line)
    assert found, line
    last = int(found[1]) - 1
    kept = sorted(path.name for path in (folder / "checkpoints").iterdir())
    assert kept == [f"round_{n:06d}.npz" for n in range(max(1, last - 1), last + 1)]
    for name in kept:
        with np.load(folder / "checkpoints" / name) as file:
            assert all(np.isfinite(file[key]).all() for key in file.files)
    assert not (folder / "result.json").exists()
    # The same command comes to the same end, from the last checkpoint.
    assert one_line(run_train(folder, **flags), code=1) == line


@pytest.mark.thorough
def test_a_central_learning_rate_that_diverges(tmp_path, run_central):
    ended = run_central(
        tmp_path / "run", client_optimizer="sgd", client_learning_rate=1e30, client_momentum=0.9
    )
    assert ended.code == 1
    assert "epoch 1: the loss is not a number (NaN)" in ended.err.splitlines()[-1]
    assert not (tmp_path / "run" / "result.json").exists()


@pytest.mark.thorough
def test_a_truncated_checkpoint(tmp_path, run_train, finished):
    folder = tmp_path / "run"
    shutil.copytree(finished.folder, folder)
    (folder / "result.json").unlink()
    newest = folder / "checkpoints" / "round_000003.npz"
    newest.write_bytes(newest.read_bytes()[:-100])
    rows = (folder / "metrics.csv").read_bytes()
    line = one_line(run_train(folder, **finished.flags))
    assert str(newest) in line
    assert "damaged" in line
    assert (folder / "metrics.csv").read_bytes() == rows


def test_two_runs_in_one_folder(tmp_path, run_train, finished):
    folder = tmp_path / "run"
    shutil.copytree(finished.folder, folder)
    config = json.loads((folder / "config.json").read_text())
    with run_directory.RunDirectory(folder, config):
        assert "another run is using it" in one_line(run_train(folder, **finished.flags))


def test_a_cache_that_cannot_be_written(tmp_path, run_train):
    (tmp_path / "file").write_text("mine")
    ended = run_train(tmp_path / "run", cache_dir=tmp_path / "file" / "cache")
    assert "--cache_dir=" in one_line(ended)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("devices", ["/GPU:7", "/CPU:0,/CPU:9", "cpu?", "/CPU"])
def test_a_device_that_is_not_there(tmp_path, run_train, devices):
    ended = run_train(tmp_path / "run", devices=devices)
    assert f"--devices={devices}: there is no" in one_line(ended)
    assert not (tmp_path / "run").exists()


def command(folder, reviews, cache, **changes):
    values = {"corpus": reviews, "cache_dir": cache, "output_dir": folder, **conftest.TINY}
    script = str(ROOT / "experiments" / "train.py")
    return [sys.executable, script, *conftest.flags({**values, **changes})]


@pytest.mark.slow
def test_a_run_prints_nothing_but_its_own_words(tmp_path, reviews, cache):
    done = subprocess.run(
        command(tmp_path / "run", reviews, cache),
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    subjects = ("corpus", "clients", "output", "model", "round", "device", "test", "held_out")
    subjects += ("warning", "saved", "note", "finished", "loading", "tokens", "compiling", "saving")
    strange = [line for line in done.stdout.splitlines() if line.split()[0] not in subjects]
    assert strange == []
    assert [line.partition(":")[0] for line in done.stderr.splitlines()] == [
        "round 2/3",
        "round 3/3",
    ]


@pytest.mark.slow
def test_an_encoder_error_is_alone_on_stderr(tmp_path, reviews, cache):
    done = subprocess.run(
        command(tmp_path / "run", reviews, cache, encoder="bert_huge"),
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1


@pytest.fixture
def interruptible():
    """Programs that a test starts do not ignore SIGINT, even if the tests run in the background."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.slow
@pytest.mark.usefixtures("interruptible")
def test_ctrl_c_ends_at_once_and_the_run_goes_on_later(tmp_path, reviews, cache):
    folder = tmp_path / "run"
    process = subprocess.Popen(
        command(folder, reviews, cache, rounds=100_000, eval_every=100_000),
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    while process.poll() is None and not (folder / "checkpoints" / "round_000003.npz").exists():
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    # A run of so many rounds does not end by itself.
    _, err = process.communicate()
    again = "the same command goes on from the last checkpoint"
    assert (process.returncode, err) == (130, f"train.py: interrupted; {again}\n")
    assert list((folder / "checkpoints").glob("*.npz"))
