"""Models without a tokenizer in their graph: ONNX and TFLite, in all precisions."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest

from tests.serving import networks
from tff_nlp.errors import UserError
from tff_nlp.serving import any_model, exported_folder, formats, pruning, saved_models

TEXTS = [
    "good film",
    "",
    "not bad " * 50,
    "外卖很好吃 film 👍🏽",
    "[CLS] [SEP] [PAD]",
    "\x00\x07 good \ud800 lone",
]
PAIRS = [("good film", "bad film"), ("good " * 50, "film"), ("", "[SEP] 好吃")]
# Largest difference of a probability. The networks have noise in place of learned weights, which
# makes them more sensitive to rounding than trained ones.
ROUNDING = {"float32": 2e-6, "float16": 5e-3, "int8": 0.1}
FORMATS = formats.PACKED


@pytest.fixture(scope="module")
def writers():
    pytest.importorskip("onnx", reason="the extra `export` is not installed")
    pytest.importorskip("onnxruntime", reason="the extra `export` is not installed")
    from tff_nlp.serving import onnx_model, tflite_model

    return {formats.ONNX: onnx_model.write, formats.TFLITE: tflite_model.write}


@pytest.fixture(scope="module")
def single():
    return networks.build()


@pytest.fixture
def write(writers, tmp_path):
    def write_one(to, bert, precision="float32", packed=False, folder="model"):
        with exported_folder.writing(tmp_path / folder) as partial:
            writers[to](partial, bert, precision, {"precision": precision}, packed=packed)
        return tmp_path / folder

    return write_one


@pytest.mark.parametrize(
    ("to", "precision"),
    [
        (formats.ONNX, "float32"),
        (formats.ONNX, "float16"),
        (formats.ONNX, "int8"),
        (formats.TFLITE, "int8"),
        pytest.param(formats.TFLITE, "float32", marks=pytest.mark.slow),
        pytest.param(formats.TFLITE, "float16", marks=pytest.mark.slow),
    ],
)
def test_predictions_are_those_of_the_classifier(single, write, to, precision):
    folder = write(to, networks.plain(*single, "mean"), precision)
    loaded = any_model.load(folder)
    done = []
    found = loaded.predict(TEXTS, batch_size=4, done=done.append)
    expected = networks.probabilities(*single, TEXTS)
    assert np.abs(found.probabilities - expected).max() < ROUNDING[precision]
    assert len({*found.labels}) > 1
    assert found.labels == tuple(networks.LABELS[row.argmax()] for row in found.probabilities)
    assert done == [4, 2]
    assert (loaded.label_names, loaded.max_tokens) == (networks.LABELS, networks.MAX_TOKENS)
    assert loaded.predict([]).probabilities.shape == (0, 3)


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("to", "pooling"),
    [
        (formats.ONNX, "cls"),
        (formats.TFLITE, "pooler"),
        pytest.param(formats.ONNX, "pooler", marks=pytest.mark.slow),
        pytest.param(formats.TFLITE, "cls", marks=pytest.mark.slow),
    ],
)
def test_pairs_and_other_poolings(write, to, pooling):
    network = networks.build(pooling, pairs=True)
    loaded = any_model.load(write(to, networks.plain(*network, pooling)))
    assert loaded.reads_pairs
    found = loaded.predict(PAIRS).probabilities
    assert np.abs(found - networks.probabilities(*network, PAIRS)).max() < ROUNDING["float32"]
    with pytest.raises(TypeError, match="pairs of texts"):
        loaded.predict(["single"])


def test_tokens_are_counted_and_prefixes_removed(single, write):
    loaded = any_model.load(write(formats.ONNX, networks.plain(*single, "mean", "RE:")))
    counts = loaded.count_tokens(["RE: good film", "film " * 50])
    assert (counts.texts, counts.texts_cut, counts.tokens) == (2, 1, 52)
    with_prefix, without = loaded.predict([" RE: good film", "good film"]).probabilities
    assert np.array_equal(with_prefix, without)


@pytest.mark.parametrize("to", [formats.ONNX, pytest.param(formats.TFLITE, marks=pytest.mark.slow)])
def test_a_pruned_model_is_smaller_and_the_same(single, write, to):
    whole = networks.plain(*single, "mean")
    pruned = pruning.prune(whole, 0.5)
    for name in whole.matrices:
        kept = pruned.tensors[name] != 0
        assert np.count_nonzero(kept) == kept.size - kept.size // 2
        assert np.array_equal(pruned.tensors[name][kept], whole.tensors[name][kept])
        cut = np.abs(whole.tensors[name][~kept])
        assert cut.max() <= np.abs(whole.tensors[name][kept]).min()
    dense, packed = write(to, pruned, folder="dense"), write(to, pruned, packed=True)
    stored = {path.name for path in packed.iterdir()}
    assert stored == {f"model.{to}.packed", "info.json", "tokenizer.json", "vocab.txt"}
    both = [any_model.load(folder).predict(TEXTS).probabilities for folder in (dense, packed)]
    assert np.array_equal(*both)
    packed_size = (packed / f"model.{to}.packed").stat().st_size
    weights = 4 * sum(whole.tensors[name].size for name in whole.matrices)
    saved = (dense / f"model.{to}").stat().st_size - packed_size
    assert saved > 0.4 * weights


@pytest.mark.parametrize("to", [formats.ONNX, pytest.param(formats.TFLITE, marks=pytest.mark.slow)])
def test_damaged_folders_are_one_line(single, write, to):
    folder = write(to, networks.plain(*single, "mean"))
    model, info = folder / f"model.{to}", folder / "info.json"
    content, described = model.read_bytes(), json.loads(info.read_text("utf-8"))

    def refused(match):
        with pytest.raises(UserError, match=match) as error:
            any_model.load(folder, flag="run")
        assert "\n" not in str(error.value)
        assert str(error.value).startswith(f"run={folder}: ")

    model.write_bytes(content[:-1])
    refused(f"model.{to} is cut or changed")
    model.write_bytes(content[:50] + b"?" + content[51:])
    refused(f"model.{to} is cut or changed")
    nonsense = b"nonsense"
    model.write_bytes(nonsense)
    files = described["files"] | {f"model.{to}": exported_folder.digest(nonsense)}
    info.write_text(json.dumps(described | {"files": files}))
    refused(f"cannot load model.{to}")
    model.write_bytes(content)
    info.write_text(json.dumps(described | {"max_tokens": "many"}))
    refused("info.json is damaged")
    info.write_text("[]")
    refused("info.json cannot be read")
    info.unlink()
    refused("info.json cannot be read")
    info.write_text(json.dumps(described))
    (folder / "vocab.txt").write_text("other")
    refused("vocab.txt is cut or changed")


def test_a_damaged_packed_file_is_one_line(single, write):
    folder = write(formats.ONNX, networks.plain(*single, "mean"), packed=True)
    path, info = folder / "model.onnx.packed", folder / "info.json"
    described = json.loads(info.read_text("utf-8"))
    for content in (path.read_bytes()[:-1], b"nonsense"):
        path.write_bytes(content)
        files = described["files"] | {path.name: exported_folder.digest(content)}
        info.write_text(json.dumps(described | {"files": files}))
        with pytest.raises(UserError, match=r"model=.*: model.onnx.packed: cannot be unpacked"):
            any_model.load(folder)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("to", "pairs"), [(formats.ONNX, False), (formats.ONNX, True), (formats.TFLITE, False)]
)
def test_the_code_in_info_json_labels_a_text_without_this_package(write, to, pairs):
    network = networks.build(pairs=pairs)
    folder = write(to, networks.plain(*network, "mean"))
    code = json.loads((folder / saved_models.INFO_FILE).read_text("utf-8"))["serving_code"]
    ended = subprocess.run(
        [sys.executable, "-c", "\n".join(code)],
        cwd=folder,
        env=os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3"},
        capture_output=True,
        check=True,
        text=True,
    )
    text = ("Not bad at all.", "It is good.") if pairs else "Not bad at all."
    assert ended.stdout == f"{list(any_model.load(folder).predict([text]).labels)}\n"


@pytest.mark.slow
def test_int8_is_three_times_smaller(write):
    bert = networks.plain(*networks.build(width=128), "mean")
    for to in FORMATS:
        sizes = [
            (write(to, bert, precision, folder=to + precision) / f"model.{to}").stat().st_size
            for precision in ("float32", "int8")
        ]
        assert sizes[0] > 3 * sizes[1], to
