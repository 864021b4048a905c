"""Adapters in BERT and GPT-2: nothing changes before training, counts, gradients, errors."""

import numpy as np
import pytest
import tensorflow as tf

from tff_nlp import errors
from tff_nlp.models import causal, classifier, decoders, encoders
from tff_nlp.models.adapters import adapter, houlsby, lora, names, prefix

TEXTS = ("the cat sat on the mat", "a good movie with bad actors", "one hour of bad food") * 3
SIZES = {"layers": 2, "width": 32, "heads": 2, "max_tokens": 8, "dropout": 0.0}
IDS = tf.constant([[2, 5, 6, 7, 3, 0], [2, 6, 3, 0, 0, 0]])
MASK = tf.not_equal(IDS, 0)
ALL = ("query", "key", "value", "attention_output", "feedforward_in", "feedforward_out")
# An adapter, whether the network computes the same at the start, and its trained parameters
# without the head, for two layers of width 32.
KINDS = {
    "lora": (adapter.Adapter(names.LORA), True, 2 * 2 * (32 * 8 * 2)),
    "every matrix": (
        adapter.Adapter(names.LORA, low_rank=lora.Lora(rank=4, matrices=ALL)),
        True,
        2 * 4 * (4 * 64 + 2 * 160),
    ),
    "ffa": (adapter.Adapter(names.LORA, low_rank=lora.Lora(freezes_a=True)), True, 2 * 2 * 32 * 8),
    "core": (adapter.Adapter(names.LORA, low_rank=lora.Lora(core=True)), True, 2 * 2 * 64),
    "houlsby": (adapter.Adapter(names.HOULSBY, width=4), True, 2 * 2 * (2 * 32 * 4 + 4 + 32)),
    "prefix": (adapter.Adapter(names.PREFIX, prefix_length=3), False, 2 * 2 * 3 * 32),
}


def bert(chosen, trainable="adapter", **arguments):
    encoder = encoders.random(TEXTS, vocabulary_size=60, **SIZES)
    return classifier.build(encoder, 2, trainable=trainable, adapter=chosen, **arguments)


def gpt2(chosen, trainable="adapter"):
    decoder = decoders.random(TEXTS, vocabulary_size=300, **SIZES)
    return causal.build(decoder, trainable=trainable, adapter=chosen)


def logits(model):
    trainable, frozen = model.initial_weights()
    return model.logits(trainable, frozen, IDS, MASK, seed=None).numpy()


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("build", "kind"),
    [
        *((bert, kind) for kind in KINDS),
        (gpt2, "every matrix"),
        *(
            pytest.param(gpt2, k, marks=pytest.mark.slow)
            for k in ("lora", "ffa", "core", "houlsby")
        ),
    ],
)
def test_a_network_with_an_adapter(build, kind):
    chosen, same, parameters = KINDS[kind]
    model, plain = build(chosen), build(None, "all")
    head = 2 * 32 + 2 if build is bert else 0
    assert model.trainable_parameters == parameters + head
    before, without = logits(model), logits(plain)
    if same:
        np.testing.assert_array_equal(before, without)
    else:
        assert 0 < np.abs(before - without).max() < 0.1
    trainable, frozen = model.initial_weights()
    generator = np.random.default_rng(0)
    changed = [w + 0.1 * generator.standard_normal(w.shape, np.float32) for w in trainable]
    ours = model.logits(changed, frozen, IDS, MASK, seed=None).numpy()
    assert np.abs(ours - before).max() > 1e-4
    # Plain Keras trains the same weights and computes the same.
    for variable, value in zip(model.keras_model.trainable_variables, changed, strict=True):
        variable.assign(value)
    read = MASK if build is gpt2 else slice(None)
    np.testing.assert_allclose(model.keras_model(IDS).numpy()[read], ours[read], atol=1e-5)


def test_a_decoder_has_no_place_for_a_prefix():
    with pytest.raises(errors.UserError, match="adapter=prefix: is for encoders"):
        gpt2(KINDS["prefix"][0])


@pytest.mark.parametrize("trainable", ["no_embeddings", "top_1"])
def test_low_rank_factors_are_for_matrices_that_are_frozen(trainable):
    for build in (bert, gpt2):
        with pytest.raises(errors.UserError, match=f"trainable={trainable}: trains matrices"):
            build(KINDS["lora"][0], trainable)


def test_a_language_model_has_no_head_to_train():
    with pytest.raises(errors.UserError, match="trainable=head: a language model has no head"):
        gpt2(None, "head")


@pytest.mark.thorough
def test_low_rank_factors_are_a_change_of_the_matrix():
    model, plain = bert(KINDS["every matrix"][0]), bert(None, "all")
    trainable, frozen = model.initial_weights()
    generator = np.random.default_rng(0)
    trainable = [w + 0.05 * generator.standard_normal(w.shape, np.float32) for w in trainable]
    values = dict(zip(model.trainable_names, trainable, strict=True))
    weights = dict(zip(plain.trainable_names, plain.initial_weights()[0], strict=True))
    for name in weights:
        place = name.removesuffix("/kernel")
        if f"{place}/lora_a" in values:
            product = np.tensordot(values[f"{place}/lora_a"], values[f"{place}/lora_b"], 1)
            weights[name] = weights[name] + 16.0 / 4 * product
        if name in values:
            weights[name] = values[name]
    ours = model.logits(trainable, frozen, IDS, MASK, seed=None)
    theirs = plain.logits(list(weights.values()), [], IDS, MASK, seed=None)
    np.testing.assert_allclose(ours, theirs, atol=1e-5)


def test_a_prefix_is_text_that_all_positions_read():
    """The attention over a prefix, in NumPy."""
    attention = tf.keras.layers.MultiHeadAttention(2, 4)
    x = np.random.default_rng(0).standard_normal([1, 3, 8]).astype(np.float32)
    attention(x, x)
    part = prefix.Prefix(attention, 2, seed=0, place=0)
    attention._compute_attention = part.attend
    mask = np.array([[[1, 1, 0]]])
    ours = attention(x, x, attention_mask=mask).numpy()[0]
    dense = {n: getattr(attention, f"_{n}_dense") for n in ("query", "key", "value", "output")}
    split = {
        n: np.tensordot(x[0], d.kernel.numpy(), 1) + d.bias.numpy()
        for n, d in dense.items()
        if n != "output"
    }
    keys = np.concatenate([part.prefix_key.numpy(), split["key"][:2]])
    values = np.concatenate([part.prefix_value.numpy(), split["value"][:2]])
    scores = np.exp(np.einsum("thd,shd->hts", split["query"] / 2.0, keys))
    shares = scores / scores.sum(axis=-1, keepdims=True)
    read = np.einsum("hts,shd->thd", shares, values)
    theirs = np.tensordot(read, dense["output"].kernel.numpy(), 2) + dense["output"].bias.numpy()
    np.testing.assert_allclose(ours, theirs, atol=1e-5)


def test_a_bottleneck_in_numpy():
    inner = tf.keras.layers.Dropout(0.0)
    layer = houlsby.Bottleneck("adapter", inner, 6, 2, seed=0, place=0)
    generator = np.random.default_rng(1)
    for variable in layer.trainable_variables:
        variable.assign(generator.standard_normal(variable.shape))
    x = generator.standard_normal([2, 3, 6]).astype(np.float32)
    down, bias_down, up, bias_up = (v.numpy() for v in layer.trainable_variables)
    hidden = tf.nn.gelu(x @ down + bias_down).numpy()
    np.testing.assert_allclose(layer(x), x + hidden @ up + bias_up, atol=1e-5)


def test_the_core_lies_between_the_largest_singular_vectors():
    model = bert(KINDS["core"][0])
    names_of = (*model.trainable_names, *model.frozen_names)
    values = dict(zip(names_of, sum(model.initial_weights(), []), strict=True))
    place = "transformer_layer_0/self_attention_layer/query"
    kernel = values[f"{place}/query/kernel"].reshape(32, 32)
    product = values[f"{place}/lora_a"] @ values[f"{place}/lora_b"].reshape(8, 32)
    left, singular, right = np.linalg.svd(kernel)
    best = (left[:, :8] * singular[:8]) @ right[:8]
    np.testing.assert_allclose(product, best, atol=1e-6)


def roberta_base(chosen, trainable):
    """A classifier with the sizes of RoBERTa-base. All weights are zero."""
    backbone = encoders.build_backbone(
        vocabulary_size=50265,
        num_layers=12,
        num_heads=12,
        hidden_dim=768,
        intermediate_dim=3072,
        max_sequence_length=514,
        num_segments=1,
    )
    encoder = encoders.Encoder("roberta", backbone, encoders.random(TEXTS).tokenizer, True)
    return classifier.build(encoder, 2, trainable=trainable, pooling="pooler", adapter=chosen)


@pytest.mark.slow
def test_the_bytes_of_fedpetuning():
    """Zhang et al. 2023, table 4: how many times fewer bytes than all weights."""
    whole = roberta_base(None, "all").trainable_parameters
    assert whole == 124_647_170
    for chosen, trainable, times in (
        (adapter.Adapter(names.LORA), "adapter", 140.52),
        (adapter.Adapter(names.HOULSBY, width=64), "adapter", 41.95),
        (adapter.Adapter(names.HOULSBY, width=16), "adapter", 103.81),
        (None, "biases", 179.54),
    ):
        trained = roberta_base(chosen, trainable).trainable_parameters
        assert round(whole / trained, 2) == times


@pytest.mark.parametrize(
    ("chosen", "message"),
    [
        (adapter.Adapter("other"), "adapter=other: must be one of none, lora, houlsby, prefix"),
        (adapter.Adapter(names.LORA, low_rank=lora.Lora(rank=33)), "rank=33: .* 1 to 32 .* query"),
        (
            adapter.Adapter(names.LORA, low_rank=lora.Lora(matrices=("feedforward_gate",))),
            "no such matrix; it has query, key, value, attention_output, feedforward_in, ",
        ),
        (adapter.Adapter(names.HOULSBY, width=0), "adapter_width=0: must be 1 or more"),
        (adapter.Adapter(names.PREFIX, prefix_length=0), "prefix_length=0: must be 1 or more"),
    ],
)
def test_what_is_not_possible(chosen, message):
    with pytest.raises(errors.UserError, match=message):
        bert(chosen)
