"""A folder for transformers: its files, and the numbers that transformers computes from them."""

import dataclasses
import json
import os
import pathlib
import re
import subprocess

import numpy as np
import pytest
import safetensors.numpy
import tokenizers

from tests.models.odd_texts import ODD_TEXTS
from tests.serving import networks
from tff_nlp.errors import UserError
from tff_nlp.models import classifier, functional, huggingface, words
from tff_nlp.models.tokenizer import Tokenizer
from tff_nlp.serving import formats, huggingface_export, model_card, tokenizer_json

# An interpreter that has torch, transformers and safetensors, in an environment of their own.
TORCH = "TFF_NLP_TORCH_PYTHON"
FACTS = model_card.Facts(
    result={
        "config": {"corpus": "/secret/place/reviews.csv", "partition": "iid"},
        "tokens": {"train": {"texts": 1234}},
        "rounds": 7,
        "test": {"accuracy": 0.875, "loss": 0.5, "examples": 2000},
    },
    privacy={"guaranteed": False, "line": "no guarantee: trained without differential privacy"},
)
# The logits that transformers 5.24 with torch 2.13 computed for folders with the weights of
# `numbered`. Rows are TOKENS, columns are labels.
TOKENS = [[2, 7, 9, 30, 11, 3], [2, 40, 3]]
STORED = {
    "mean": [[-0.6976267, 0.7510808, 0.6080942], [-0.7270897, 0.769633, 0.6123756]],
    "cls": [[-0.691941, 0.7612938, 0.5885458], [-0.7457385, 0.8271363, 0.5529734]],
    "pooler": [[0.6585114, -0.4091597, 0.8267876], [0.6505767, -0.4072771, 0.8321671]],
}


def numbered(bert):
    """Returns a network with weights that follow from names and places, not from a generator."""
    tensors = {}
    for index, (name, value) in enumerate(sorted(bert.tensors.items())):
        steps = np.arange(value.size, dtype=np.float64)
        wave = 0.5 * np.sin(steps * (0.7 + 0.013 * index) + index)
        offset = 1.0 if name.endswith("LayerNorm.weight") else 0.0
        tensors[name] = (offset + wave).reshape(value.shape).astype(np.float32)
    return dataclasses.replace(bert, tensors=tensors)


@pytest.fixture(params=["mean", "cls", "pooler"])
def network(request):
    return request.param, networks.build(request.param)


@pytest.fixture
def folder(network, tmp_path):
    pooling, weights = network
    tmp_path.joinpath("hf").mkdir()
    huggingface_export.write(
        tmp_path / "hf", networks.plain(*weights, pooling), formats.FLOAT32, FACTS
    )
    return tmp_path / "hf"


def test_the_tensors_of_a_checkpoint_come_back(network, folder):
    """The importer, which is tested with numbers of PyTorch, reads the same weights again."""
    _, (model, trainable, frozen) = network
    encoder = huggingface.load_folder(folder)
    names = (*model.trainable_names, *model.frozen_names)
    weights = dict(zip(names, (*trainable, *frozen), strict=True))
    for weight in functional.weights_of(encoder.backbone):
        if not weight.name.startswith("pooled_dense/"):
            assert np.array_equal(weight.variable.numpy(), weights[weight.name]), weight.name


def test_config_and_card(network, folder):
    pooling, _ = network
    names = {path.name for path in folder.iterdir()}
    assert names == {
        "README.md",
        "config.json",
        "model.safetensors",
        "special_tokens_map.json",
        "tokenizer.json",
        "tokenizer_config.json",
        "vocab.txt",
    }
    config = json.loads((folder / "config.json").read_text("utf-8"))
    kind = "Token" if pooling == "mean" else "Sequence"
    assert config["architectures"] == [f"BertFor{kind}Classification"]
    assert config["id2label"] == {"0": "schlecht", "1": "gut", "2": "好"}
    card = (folder / "README.md").read_text("utf-8")
    for part in ("`reviews.csv`", "1,234 training texts", "| accuracy | 0.8750 |", "no guarantee"):
        assert part in card
    assert "secret" not in card


def test_half_floats(tmp_path):
    bert = networks.plain(*networks.build(), "mean")
    huggingface_export.write(tmp_path, bert, formats.FLOAT16, FACTS)
    stored = safetensors.numpy.load_file(tmp_path / "model.safetensors")
    assert {value.dtype for value in stored.values()} == {np.dtype(np.float16)}
    with pytest.raises(UserError, match="precision=float16: .*pooling=cls"):
        huggingface_export.write(
            tmp_path, dataclasses.replace(bert, pooling="cls"), formats.FLOAT16, FACTS
        )


def test_the_card_says_what_a_student_learned_from(tmp_path):
    bert = networks.plain(*networks.build(), "mean", strip_prefix="RE:")
    privacy = {"line": "epsilon 8", "student": "the student saw other texts"}
    facts = model_card.Facts(FACTS.result, privacy, student_layers=1)
    card = model_card.text(bert, facts, "BertForTokenClassification")
    assert "epsilon 8" in card
    assert "the student saw other texts" in card
    assert "student of it with 1 layers, not scored" in card
    assert "remove the prefix 'RE:'" in card


@pytest.mark.thorough
@pytest.mark.parametrize("pooling", classifier.POOLINGS)
def test_logits_are_the_stored_ones_of_pytorch(pooling, tmp_path):
    """KerasNLP computes them from the exported encoder, and from the head before the export."""
    bert = numbered(networks.plain(*networks.build(pooling), pooling))
    huggingface_export.write(tmp_path, bert, formats.FLOAT32, FACTS)
    model = classifier.build(huggingface.load_folder(tmp_path), 3, pooling=pooling)
    trainable, frozen = model.initial_weights()
    trainable[model.trainable_names.index("head/kernel")] = bert.tensors["classifier.weight"].T
    trainable[model.trainable_names.index("head/bias")] = bert.tensors["classifier.bias"]
    for ids, expected in zip(TOKENS, STORED[pooling], strict=True):
        row = np.array([ids], np.int32)
        logits = model.logits(trainable, frozen, row, np.ones_like(row, bool), seed=None)
        assert np.abs(logits.numpy()[0] - expected).max() < 1e-4


def in_torch(folder, code):
    """Runs code with torch in a folder, and returns what it prints."""
    python = os.environ.get(TORCH, "")
    if not pathlib.Path(python).is_file():
        pytest.skip(f"{TORCH} does not name a Python with torch and transformers")
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    ended = subprocess.run(
        [python, "-c", code],
        cwd=folder,
        env=environment | {"HF_HUB_OFFLINE": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


@pytest.mark.slow
def test_transformers_computes_the_same_logits(network, folder):
    """The code of the model card runs, too, and its tokenizer reads odd texts as ours does."""
    pooling, (model, trainable, frozen) = network
    texts = [text for text in ODD_TEXTS if text.isprintable() or "\n" in text]
    (folder / "texts.json").write_text(json.dumps(texts))
    code = re.search("```python\n(.*?)```", (folder / "README.md").read_text("utf-8"), re.DOTALL)
    shown = code[1].replace('["Not bad at all."]', "json.load(open('texts.json'))")
    printed = in_torch(
        folder,
        f"import json\n{shown}\nprint(json.dumps([logits.tolist(), batch['input_ids'].tolist(), "
        "batch['attention_mask'].tolist()]))",
    )
    logits, ids, masks = json.loads(printed.splitlines()[-1])
    flat, lengths = model.tokenizer.encode(texts, networks.MAX_TOKENS)
    ours = np.split(flat, np.cumsum(lengths)[:-1])
    for row, (logit, theirs, mask) in enumerate(zip(logits, ids, masks, strict=True)):
        assert theirs[: sum(mask)] == ours[row].tolist(), texts[row]
        tokens = ours[row][np.newaxis]
        expected = model.logits(trainable, frozen, tokens, np.ones_like(tokens, bool), seed=None)
        assert np.abs(expected.numpy()[0] - logit).max() < 1e-4


@pytest.mark.parametrize("pairs", [False, True])
def test_tokenizer_json_reads_as_the_tokenizer(pairs):
    """Also in the other style, and pairs with their segments."""
    learned = networks.build(pairs=pairs)[0].tokenizer
    for style in words.STYLES:
        for lowercase in (True, False):
            rules = words.WordRules(lowercase, strip_accents=lowercase, style=style)
            ours = Tokenizer(learned.vocabulary, rules)
            described = json.dumps(tokenizer_json.describe(ours, 16))
            theirs = tokenizers.Tokenizer.from_str(described)
            texts = [text.encode("utf-8", "replace").decode() for text in ODD_TEXTS]
            given = [(text, "good") for text in texts] if pairs else texts
            flat, lengths = ours.encode(texts, 16, ["good"] * len(texts) if pairs else None)
            rows = np.split(flat, np.cumsum(lengths)[:-1])
            for text, row, found in zip(texts, rows, theirs.encode_batch(given), strict=True):
                count = sum(found.attention_mask)
                assert found.ids[:count] == row.tolist(), (style, text)
                segments = ours.segment_ids(row[np.newaxis]).numpy()[0]
                assert found.type_ids[:count] == segments.tolist()
