"""Small encoders and checkpoints for the tests of the models room."""

import json

import numpy as np
import pytest
import safetensors.numpy

from tff_nlp.models import encoders

TEXTS = (
    "The cat sat on the mat, happily!",
    "A good movie; the actors were good and the plot was not bad.",
    "外卖很好吃，下次再来。",
    "bad bad food, never again",
) * 5


@pytest.fixture(scope="session")
def texts():
    return TEXTS


@pytest.fixture
def tiny():
    """Makes a fresh encoder: 2 layers, 32 wide."""

    def make(**arguments):
        settings = {"layers": 2, "width": 32, "heads": 2, "vocabulary_size": 200} | arguments
        return encoders.random(TEXTS, max_tokens=64, **settings)

    return make


CHECKPOINT_WORDS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *"abcdefghijklmnopqrstuvwxy")
CHECKPOINT_CONFIG = {
    "model_type": "bert",
    "hidden_act": "gelu",
    "vocab_size": 30,
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 32,
    "max_position_embeddings": 12,
    "type_vocab_size": 2,
    "layer_norm_eps": 1e-12,
    "hidden_dropout_prob": 0.1,
    "attention_probs_dropout_prob": 0.1,
}


def checkpoint_shapes():
    """Names and shapes of a `transformers.BertModel` of CHECKPOINT_CONFIG."""
    shapes = {
        "embeddings.word_embeddings.weight": (30, 16),
        "embeddings.position_embeddings.weight": (12, 16),
        "embeddings.token_type_embeddings.weight": (2, 16),
        "pooler.dense.weight": (16, 16),
        "pooler.dense.bias": (16,),
    }
    dense = {
        "attention.self.query": (16, 16),
        "attention.self.key": (16, 16),
        "attention.self.value": (16, 16),
        "attention.output.dense": (16, 16),
        "intermediate.dense": (32, 16),
        "output.dense": (16, 32),
    }
    norms = ["embeddings.LayerNorm"]
    for layer in ("encoder.layer.0.", "encoder.layer.1."):
        norms += [layer + "attention.output.LayerNorm", layer + "output.LayerNorm"]
        for name, shape in dense.items():
            shapes[layer + name + ".weight"] = shape
            shapes[layer + name + ".bias"] = shape[:1]
    for name in norms:
        shapes[name + ".weight"] = shapes[name + ".bias"] = (16,)
    return shapes


def checkpoint_tensors():
    """The weights that PyTorch computed the stored outputs with."""
    tensors = {}
    for index, (name, shape) in enumerate(sorted(checkpoint_shapes().items())):
        steps = np.arange(np.prod(shape), dtype=np.float64)
        wave = 0.5 * np.sin(steps * (0.7 + 0.013 * index) + index)
        offset = 1.0 if name.endswith("LayerNorm.weight") else 0.0
        tensors[name] = (offset + wave).reshape(shape).astype(np.float32)
    return tensors


@pytest.fixture
def write_checkpoint(tmp_path):
    """Writes a small Hugging Face checkpoint and returns its folder."""

    def write(*, config=None, tensors=None, words=CHECKPOINT_WORDS, settings=None):
        tensors = checkpoint_tensors() if tensors is None else tensors
        (tmp_path / "config.json").write_text(json.dumps(CHECKPOINT_CONFIG | (config or {})))
        (tmp_path / "vocab.txt").write_text("\n".join(words) + "\n", encoding="utf-8")
        if settings is not None:
            (tmp_path / "tokenizer_config.json").write_text(json.dumps(settings))
        safetensors.numpy.save_file(
            {name: np.ascontiguousarray(value) for name, value in tensors.items()},
            tmp_path / "model.safetensors",
        )
        return tmp_path

    return write


@pytest.fixture
def make_tensors():
    return checkpoint_tensors
