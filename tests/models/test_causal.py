"""The causal model as a pure function equals KerasNLP's model and never reads later tokens."""

import keras_nlp
import numpy as np
import pytest
import tensorflow as tf

from tff_nlp import seeds
from tff_nlp.errors import UserError
from tff_nlp.models import causal, decoders
from tff_nlp.models.encoders import computing_in

# With one rounding per operation, logits of at most 1 have a standard deviation below 3e-7. This is
# three standard deviations.
ROUNDING = 1e-6


@pytest.fixture
def tiny_decoder(texts):
    def make(**arguments):
        settings = {"layers": 2, "width": 32, "heads": 2, "vocabulary_size": 300} | arguments
        return decoders.random(texts, max_tokens=24, **settings)

    return make


@pytest.fixture
def batch(texts):
    def make(model):
        ids, lengths = model.tokenizer.encode(["The cat sat", "bad food, never again!", ""], 12)
        ragged = tf.RaggedTensor.from_row_lengths(ids, lengths)
        padded = ragged.to_tensor(model.tokenizer.pad_id).numpy()
        return padded, padded != model.tokenizer.pad_id

    return make


@pytest.mark.thorough
@pytest.mark.parametrize("trainable", ["all", "no_embeddings", "top_1", "biases"])
def test_logits_equal_kerasnlps(tiny_decoder, batch, trainable):
    decoder = tiny_decoder()
    keras = keras_nlp.models.GPT2CausalLM(decoder.backbone)
    model = causal.build(decoder, trainable=trainable)
    ids, mask = batch(model)
    inputs = {"token_ids": np.where(mask, ids, 0), "padding_mask": mask.astype(np.int32)}
    expected = keras(inputs, training=False)
    weights, frozen = model.initial_weights()
    found = model.logits(weights, frozen, ids, mask, seed=None)
    np.testing.assert_allclose(found, expected, atol=ROUNDING)
    assert found.shape == (*ids.shape, model.vocabulary_size)
    assert found.dtype == tf.float32
    np.testing.assert_array_equal(model.keras_model(ids, training=False), found)
    # Keras counts the same weights, in the same order.
    for mine, theirs in zip(weights, model.keras_model.trainable_weights, strict=True):
        np.testing.assert_array_equal(mine, theirs.numpy())
    assert len(frozen) == len(model.keras_model.non_trainable_weights)
    names = model.trainable_names + model.frozen_names
    assert len(set(names)) == len(names) == len(weights) + len(frozen)
    assert sum(w.size for w in weights) == model.trainable_parameters
    assert sum(w.size for w in frozen) == model.frozen_parameters
    # The tied table counts once.
    assert model.trainable_parameters + model.frozen_parameters == decoder.backbone.count_params()
    for specs, values in zip(model.weight_specs(), (weights, frozen), strict=True):
        assert [tuple(s.shape) for s in specs] == [v.shape for v in values]


@pytest.mark.parametrize(
    ("trainable", "trains"),
    [
        ("no_embeddings", {"transformer_layer_0", "transformer_layer_1", "layer_norm"}),
        ("top_1", {"transformer_layer_1", "layer_norm"}),
    ],
)
def test_trainable_selections(tiny_decoder, trainable, trains):
    model = causal.build(tiny_decoder(), trainable=trainable)
    assert {name.partition("/")[0] for name in model.trainable_names} == trains


def test_bitfit_count(tiny_decoder):
    model = causal.build(tiny_decoder(), trainable="biases")
    # Per layer: query, key, value, output, 2 norms, feed-forward 4 x 32 and 32; the last norm.
    assert model.trainable_parameters == 2 * (4 * 32 + 2 * 32 + 4 * 32 + 32) + 32


def test_impossible_trainable_selections(tiny_decoder):
    for name in ("head", "top_3", "top_0"):
        with pytest.raises(UserError, match=f"trainable={name}: "):
            causal.build(tiny_decoder(), trainable=name)


def test_a_decoder_belongs_to_one_model(tiny_decoder):
    decoder = tiny_decoder()
    causal.build(decoder)
    with pytest.raises(ValueError, match="belongs to another model"):
        causal.build(decoder)


def test_logits_do_not_depend_on_later_tokens_or_padding(tiny_decoder, batch):
    model = causal.build(tiny_decoder())
    ids, mask = batch(model)
    weights, frozen = model.initial_weights()
    expected = model.logits(weights, frozen, ids, mask, seed=None).numpy()
    for place in (1, 4):
        begun = model.logits(weights, frozen, ids[:, :place], mask[:, :place], seed=None)
        real = mask[:, :place]
        np.testing.assert_allclose(begun[real], expected[:, :place][real], atol=ROUNDING)
    nothing = model.logits(weights, frozen, ids, np.zeros_like(mask), seed=None)
    assert np.isfinite(nothing).all()
    other = np.where(mask, ids, 7)
    found = model.logits(weights, frozen, other, mask, seed=None)
    np.testing.assert_array_equal(found[mask], expected[mask])


def test_a_zero_table_gives_uniform_logits(tiny_decoder, batch):
    """The perplexity is then the vocabulary's size."""
    model = causal.build(tiny_decoder())
    weights, frozen = model.initial_weights()
    table = model.trainable_names.index("token_embedding/embeddings")
    weights[table] = np.zeros_like(weights[table])
    ids, mask = batch(model)
    assert (model.logits(weights, frozen, ids, mask, seed=None).numpy() == 0).all()


def test_the_tied_tables_gradient_is_dense(tiny_decoder, batch):
    model = causal.build(tiny_decoder(dropout=0.0))
    weights, frozen = model.initial_weights()
    table = model.trainable_names.index("token_embedding/embeddings")
    assert model.token_embedding is None
    ids, mask = batch(model)
    values = [tf.constant(weight) for weight in weights]
    with tf.GradientTape() as tape:
        tape.watch(values)
        logits = model.logits(values, frozen, ids, mask, seed=[1, 2])
        loss = tf.reduce_sum(tf.nn.log_softmax(logits)[mask][:, 3])
    gradient = tf.convert_to_tensor(tape.gradient(loss, values[table]))
    assert (tf.reduce_sum(tf.abs(gradient), axis=1) > 0).numpy().all()


def test_dropout_follows_the_seed(tiny_decoder, batch):
    model = causal.build(tiny_decoder(dropout=0.5))
    weights, frozen = model.initial_weights()
    ids, mask = batch(model)

    def logits(seed):
        return model.logits(weights, frozen, ids, mask, seed=seed).numpy()

    first = logits(seeds.pair(1, "dropout"))
    np.testing.assert_array_equal(first, logits(seeds.pair(1, "dropout")))
    assert (first != logits(seeds.pair(2, "dropout"))).any()
    assert (first != logits(None)).any()


def test_the_graph_has_no_variables(tiny_decoder, batch):
    model = causal.build(tiny_decoder())
    ids, mask = batch(model)
    specs = model.weight_specs()

    @tf.function(
        input_signature=[
            *specs,
            tf.TensorSpec([None, None], tf.int32),
            tf.TensorSpec([None, None], tf.bool),
            tf.TensorSpec([2], tf.int32),
        ]
    )
    def logits(trainable, frozen, token_ids, padding_mask, seed):
        return model.logits(trainable, frozen, token_ids, padding_mask, seed=seed)

    traced = logits.get_concrete_function()
    assert not traced.variables
    assert not traced.captured_inputs
    assert not {"VarHandleOp", "RandomUniform"} & {op.type for op in traced.graph.get_operations()}
    weights, frozen = model.initial_weights()
    found = logits(tuple(weights), tuple(frozen), ids, mask, tf.constant([1, 2]))
    expected = model.logits(weights, frozen, ids, mask, seed=[1, 2])
    np.testing.assert_allclose(found, expected, atol=ROUNDING)


def test_a_cache_gives_the_same_logits(tiny_decoder, batch):
    model = causal.build(tiny_decoder(), trainable="top_1")
    ids, mask = batch(model)
    ids = np.where(mask, ids, 0)
    weights, frozen = model.initial_weights()
    expected = model.logits(weights, frozen, ids, np.ones_like(mask), seed=None).numpy()
    cache = model.empty_cache(len(ids), ids.shape[1])
    found = []
    for begin, end in ((0, 3), (3, 4), (4, 7), (7, ids.shape[1])):
        part, cache = model.logits_with_cache(weights, frozen, ids[:, begin:end], cache, begin)
        found.append(part)
    np.testing.assert_allclose(np.concatenate(found, axis=1), expected, atol=ROUNDING)


def test_half_precision_is_refused(tiny_decoder):
    with (
        computing_in("bfloat16"),
        pytest.raises(UserError, match="compute_dtype=bfloat16: a language model computes in"),
    ):
        tiny_decoder()
