"""The classifier as a pure function equals the Keras model, and its weights are counted right."""

import threading

import numpy as np
import pytest
import tensorflow as tf

from tff_nlp import seeds
from tff_nlp.errors import UserError
from tff_nlp.models import classifier, encoders, functional
from tff_nlp.models.tokenizer import Tokenizer
from tff_nlp.models.vocabulary import SPECIAL_TOKENS

IDS = np.array([[2, 34, 35, 12, 3, 0, 0], [2, 12, 3, 0, 0, 0, 0], [2, 9, 8, 7, 6, 5, 3]], np.int32)
MASK = IDS != 0
LAYERS = ("transformer_layer_0", "transformer_layer_1")
# With one rounding per operation, the logits have a standard deviation of at most 3e-7 of the
# largest (see `rounding_deviation` below), which is 0.2. Sums of many products round more often.
ROUNDING = 1e-6


def sized_encoder(vocabulary_size, layers, width, heads):
    """Returns an encoder of a published size, with zero weights and a fake vocabulary."""
    backbone = encoders.build_backbone(
        vocabulary_size=vocabulary_size,
        num_layers=layers,
        num_heads=heads,
        hidden_dim=width,
        intermediate_dim=4 * width,
        max_sequence_length=512,
    )
    return encoders.Encoder("sized", backbone, Tokenizer(SPECIAL_TOKENS), False)


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("layers", "width", "parameters"),
    [(2, 128, 4_386_178), (4, 256, 11_171_074), (4, 512, 28_764_674), (12, 768, 109_483_778)],
)
def test_parameter_counts_are_the_published_ones(layers, width, parameters):
    encoder = sized_encoder(30522, layers, width, width // 64)
    model = classifier.build(encoder, 2, pooling="pooler")
    assert model.trainable_parameters == parameters
    assert model.frozen_parameters == 0


@pytest.mark.parametrize(
    ("pooling", "trainable"),
    [
        ("mean", "all"),
        ("mean", "no_embeddings"),
        ("mean", "head"),
        ("cls", "top_1"),
        ("cls", "all"),
        ("pooler", "all"),
        ("pooler", "biases"),
    ],
)
def test_logits_equal_the_keras_model(tiny, pooling, trainable):
    model = classifier.build(tiny(), 3, pooling=pooling, trainable=trainable)
    weights, frozen = model.initial_weights()
    names = model.trainable_names + model.frozen_names
    assert len(set(names)) == len(names) == len(weights) + len(frozen)
    assert all(w.dtype == np.float32 for w in weights + frozen)
    assert sum(w.size for w in weights) == model.trainable_parameters
    # Keras counts the same weights, in the same order.
    for mine, keras in zip(weights, model.keras_model.trainable_weights, strict=True):
        np.testing.assert_array_equal(mine, keras.numpy())
    assert len(frozen) == len(model.keras_model.non_trainable_weights)
    assert any(name.startswith("pooled_dense/") for name in names) == (pooling == "pooler")
    expected = model.keras_model(IDS, training=False)
    np.testing.assert_array_equal(model.logits(weights, frozen, IDS, MASK, seed=None), expected)


def test_mean_pooling_sees_real_tokens_only(tiny):
    model = classifier.build(tiny(), 3)
    weights, frozen = model.initial_weights()
    row = model.logits(weights, frozen, IDS[1:2, :3], MASK[1:2, :3], seed=None)
    padded = model.logits(weights, frozen, IDS, MASK, seed=None)
    np.testing.assert_allclose(padded[1:2], row, atol=ROUNDING)
    nothing = model.logits(weights, frozen, IDS, np.zeros_like(MASK), seed=None)
    assert np.isfinite(nothing).all()


@pytest.mark.parametrize(
    ("trainable", "trains", "rests"),
    [
        (
            "no_embeddings",
            {"transformer_layer_0", "transformer_layer_1", "pooled_dense", "head"},
            5,
        ),
        ("top_1", {"transformer_layer_1", "pooled_dense", "head"}, 21),
        ("top_2", {"transformer_layer_0", "transformer_layer_1", "pooled_dense", "head"}, 5),
        ("head", {"pooled_dense", "head"}, 37),
    ],
)
def test_trainable_selections(tiny, trainable, trains, rests):
    model = classifier.build(tiny(), 2, pooling="pooler", trainable=trainable)
    assert {name.partition("/")[0] for name in model.trainable_names} == trains
    assert len(model.frozen_names) == rests
    assert model.token_embedding is None


def test_bitfit_count(tiny):
    model = classifier.build(tiny(), 2, trainable="biases")
    # Per layer: query, key, value, output, 2 norms, feed-forward 4 x 32 and 32; then the
    # embeddings' norm and the head.
    assert model.trainable_parameters == 2 * (4 * 32 + 2 * 32 + 4 * 32 + 32) + 32 + (32 * 2 + 2)
    assert all(n.endswith(("bias", "beta")) or n == "head/kernel" for n in model.trainable_names)


@pytest.mark.slow
def test_fit_changes_only_the_trainable_weights(tiny):
    model = classifier.build(tiny(), 2, trainable="biases")
    weights, frozen = model.initial_weights()
    model.keras_model.compile("sgd", tf.keras.losses.SparseCategoricalCrossentropy(True))
    model.keras_model.fit(IDS, np.array([0, 1, 0]), epochs=2, verbose=0)
    after, still = model.initial_weights()
    # A key's bias shifts all scores of a query equally. Its gradient is zero except for rounding.
    for name, old, new in zip(model.trainable_names, weights, after, strict=True):
        assert (old != new).any() or "/key/" in name, name
    for name, old, new in zip(model.frozen_names, frozen, still, strict=True):
        np.testing.assert_array_equal(old, new, name)


def test_gradients_equal_the_keras_models(tiny):
    model = classifier.build(tiny(dropout=0.0), 3)
    weights, _ = model.initial_weights()
    weights = [tf.constant(w) for w in weights]
    with tf.GradientTape() as tape:
        tape.watch(weights)
        loss = tf.reduce_sum(model.logits(weights, [], IDS, MASK, seed=[1, 2]) ** 2)
    mine = tape.gradient(loss, weights)
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(model.keras_model(IDS, training=True) ** 2)
    keras = tape.gradient(loss, model.keras_model.trainable_weights)
    assert model.token_embedding == model.trainable_names.index("token_embedding/embeddings")
    table = mine[model.token_embedding]
    assert isinstance(table, tf.IndexedSlices)
    assert table.values.shape[0] == IDS.size
    for name, left, right in zip(model.trainable_names, mine, keras, strict=True):
        left, right = tf.convert_to_tensor(left), tf.convert_to_tensor(right)
        np.testing.assert_allclose(left, right, atol=2 * ROUNDING, err_msg=name)


def rounding_deviation(model, weights, direction):
    """Returns the standard deviation of the logits along a direction for roundings of one unit.

    This is a first-order estimate. Every operation's result has an independent relative error,
    uniform in +-1 unit, and the gradient gives its effect on the logits. Values that bfloat16
    represents exactly (the mask's zeros and ones) have no error.
    """
    with tf.Graph().as_default() as graph:
        inputs = [tf.compat.v1.placeholder(tf.float32, w.shape) for w in weights]
        logits = model.logits(inputs, [], IDS, MASK, seed=None)
        results = [result for op in graph.get_operations() for result in op.outputs]
        results = [result for result in results if result.dtype == tf.float32]
        slopes = tf.gradients(tf.reduce_sum(logits * direction), results)
        slopes = [tf.convert_to_tensor(slope) for slope in slopes]
        with tf.compat.v1.Session(graph=graph) as session:
            results, slopes = session.run(
                [results, slopes], dict(zip(inputs, weights, strict=True))
            )
    variance = 0
    for result, slope in zip(results, slopes, strict=True):
        exact = result == result.astype(tf.bfloat16.as_numpy_dtype).astype(np.float32)
        variance += np.sum((slope * np.where(exact, 0, result)) ** 2) / 3
    return variance**0.5


@pytest.mark.thorough
@pytest.mark.parametrize(
    "pooling",
    [
        "mean",
        pytest.param("cls", marks=pytest.mark.slow),
        pytest.param("pooler", marks=pytest.mark.slow),
    ],
)
def test_bfloat16_computes_less_exactly_on_float32_weights(tiny, pooling):
    whole = classifier.build(tiny(dropout=0.0), 3, pooling=pooling)
    with encoders.computing_in("bfloat16"):
        model = classifier.build(tiny(dropout=0.0), 3, pooling=pooling)
    assert tf.keras.mixed_precision.global_policy().name == "float32"
    weights, frozen = model.initial_weights()
    assert all(w.dtype == np.float32 for w in weights + frozen)
    for one, other in zip(weights, whole.initial_weights()[0], strict=True):
        np.testing.assert_array_equal(one, other)

    weights = [tf.constant(w) for w in weights]
    with tf.GradientTape() as tape:
        tape.watch(weights)
        logits = model.logits(weights, [], IDS, MASK, seed=None)
        loss = tf.reduce_sum(logits**2)
    assert logits.dtype == tf.float32
    np.testing.assert_array_equal(logits, model.keras_model(IDS, training=False))
    exact = whole.logits(weights, [], IDS, MASK, seed=None)
    # bfloat16 has significands of 8 bits, float32 of 24. Independent errors stay below six standard
    # deviations, for any order of additions, and also if a processor sometimes keeps more bits.
    error = (logits - exact).numpy()
    length = np.linalg.norm(error)
    deviation = rounding_deviation(whole, [w.numpy() for w in weights], error / length)
    assert 6 * 2**-24 * deviation < length < 6 * 2**-8 * deviation
    gradients = tape.gradient(loss, weights)
    assert all(g.dtype == tf.float32 for g in gradients)
    assert any(np.any(tf.convert_to_tensor(g)) for g in gradients)


def test_an_unknown_compute_type_is_named():
    with (
        pytest.raises(UserError, match="compute_dtype=float16"),
        encoders.computing_in("float16"),
    ):
        raise AssertionError


@pytest.mark.parametrize("seed", [None, (3, 4)])
def test_a_compact_vocabulary_gives_the_same_logits(tiny, seed):
    """The table has only the rows that a client's texts use, renumbered as in the client update."""
    model = classifier.build(tiny(), 3)
    weights, _ = model.initial_weights()
    used, local = np.unique(IDS, return_inverse=True)
    local = local.reshape(IDS.shape).astype(np.int32)
    # Renumber backwards, so that no id keeps its value and padding is not 0.
    compact = list(weights)
    compact[model.token_embedding] = weights[model.token_embedding][used[::-1]]
    renumbered = len(used) - 1 - local
    np.testing.assert_allclose(
        model.logits(compact, [], renumbered, MASK, seed=seed),
        model.logits(weights, [], IDS, MASK, seed=seed),
        atol=ROUNDING,
    )


@pytest.mark.thorough
def test_traces_into_a_plain_graph_without_variables(tiny):
    model = classifier.build(tiny(), 3, trainable="top_1")
    weights, frozen = model.initial_weights()
    before = [w.copy() for w in weights + frozen]
    parts = [(IDS[:rows, :length], MASK[:rows, :length]) for rows, length in ((3, 7), (1, 3))]
    expected = [model.keras_model(part, training=False) for part, _ in parts]
    with tf.Graph().as_default() as graph:
        inputs = [tf.compat.v1.placeholder(tf.float32, w.shape) for w in weights + frozen]
        ids = tf.compat.v1.placeholder(tf.int32, [None, None])
        mask = tf.compat.v1.placeholder(tf.bool, [None, None])
        seed = tf.compat.v1.placeholder(tf.int32, [2])
        split = len(weights)
        inference = model.logits(inputs[:split], inputs[split:], ids, mask, seed=None)
        training = model.logits(inputs[:split], inputs[split:], ids, mask, seed=seed)
        assert inference.shape.as_list() == [None, 3]
        # No state of any kind: only stateless operations and placeholders.
        stateful = {op.type for op in graph.get_operations() if op._is_stateful}
        assert not stateful - {"Placeholder"}
        assert not {op.type for op in graph.get_operations() if "Var" in op.type}
        with tf.compat.v1.Session(graph=graph) as session:
            feed = dict(zip(inputs, weights + frozen, strict=True))
            for (x, real), right in zip(parts, expected, strict=True):
                part = {ids: x, mask: real, seed: [1, 2]}
                plain, dropped = session.run([inference, training], feed | part)
                np.testing.assert_allclose(plain, right, atol=ROUNDING)
                assert (plain != dropped).any()
    for old, new in zip(before, sum(model.initial_weights(), []), strict=True):
        np.testing.assert_array_equal(old, new)


def test_traces_into_tff(tiny):
    tff = pytest.importorskip("tensorflow_federated")
    model = classifier.build(tiny(), 3, trainable="head")
    weights, frozen = model.initial_weights()

    @tff.tensorflow.computation(
        [tff.TensorType(w.dtype, w.shape) for w in weights],
        [tff.TensorType(w.dtype, w.shape) for w in frozen],
        tff.TensorType(np.int32, [None, None]),
    )
    def logits(weights, frozen, ids):
        mask = tf.not_equal(ids, 0)
        return model.logits(list(weights), list(frozen), ids, mask, seed=None)

    graph = tf.compat.v1.GraphDef()
    proto = tff.framework.serialize_computation(logits)
    assert proto.tensorflow.graph_def.Unpack(graph)
    assert not [node.op for node in graph.node if "Var" in node.op]
    assert not proto.tensorflow.initialize_op


def test_dropout_seeds(tiny):
    model = classifier.build(tiny(), 3)
    weights, _ = model.initial_weights()

    def logits(seed):
        return model.logits(weights, [], IDS, MASK, seed=seed).numpy()

    np.testing.assert_array_equal(logits([1, 2]), logits(tf.constant([1, 2])))
    assert (logits([1, 2]) != logits([1, 3])).any()
    assert (logits([1, 2]) != logits([2, 2])).any()
    assert (logits([1, 2]) != logits(None)).any()
    np.testing.assert_array_equal(logits(None), logits(None))


@pytest.mark.parametrize("rate", [0.1, 0.5, 0.001])
def test_dropout_is_distributed_as_keras_dropout(rate):
    ones = tf.ones([301, 333])
    size = 301 * 333
    drops = []
    for index in range(8):
        seed = tf.constant(seeds.pair(0, "test", index))
        values = functional.StatelessDropout(seed, index).dropout(ones, rate).numpy()
        kept = values[values != 0]
        np.testing.assert_allclose(kept, 1 / (1 - rate), rtol=2e-5)
        drops.append((values == 0).ravel())
    deviation = (rate * (1 - rate) / (8 * size)) ** 0.5
    assert abs(np.mean(drops) - rate) < 4 * deviation + 2**-17
    # Neighbours and other layers are independent.
    for left, right in ((drops[0], drops[1]), (drops[0][:-1], drops[0][1:])):
        both = np.mean(left & right)
        assert abs(both - rate**2) < 5 * rate / size**0.5


def test_layers_do_not_share_masks_between_steps():
    """Layer 1 with seed s must not drop what layer 0 drops with seed s + 1."""
    ones = tf.ones([64, 64])
    masks = {
        functional.StatelessDropout(tf.constant([7, step]), layer)
        .dropout(ones, 0.5)
        .numpy()
        .tobytes()
        for step in range(6)
        for layer in range(6)
    }
    assert len(masks) == 36


def test_dropout_takes_odd_and_empty_shapes():
    dropout = functional.StatelessDropout(tf.constant([1, 2]), 0)
    for shape in ([0, 4], [1], [3, 5], [2, 1, 7]):
        assert dropout.dropout(tf.ones(shape), 0.5).shape == shape


def test_concurrent_calls_do_not_mix(tiny):
    model = classifier.build(tiny(), 3)
    weights, _ = model.initial_weights()
    twice = [2 * w for w in weights]
    expected = [model.logits(w, [], IDS, MASK, seed=None).numpy() for w in (weights, twice)]
    wrong = []

    def work(values, right):
        for _ in range(5):
            if (model.logits(values, [], IDS, MASK, seed=None).numpy() != right).any():
                wrong.append(values)

    jobs = [
        threading.Thread(target=work, args=pair)
        for pair in zip((weights, twice), expected, strict=True)
    ]
    for job in jobs:
        job.start()
    for job in jobs:
        job.join()
    assert not wrong


def test_failed_call_leaves_the_model_as_it_was(tiny):
    model = classifier.build(tiny(), 3)
    weights, _ = model.initial_weights()
    expected = model.keras_model(IDS, training=False)
    with pytest.raises(ValueError, match="weights"):
        model.logits(weights[:-1], [], IDS, MASK, seed=None)
    broken = list(weights)
    broken[-2] = np.zeros([5, 5], np.float32)
    with pytest.raises(Exception, match="(?i)matrix size|matmul"):
        model.logits(broken, [], IDS, MASK, seed=[1, 2])
    np.testing.assert_array_equal(model.keras_model(IDS, training=False), expected)


def test_same_seed_same_weights(tiny):
    one, two, other = (classifier.build(tiny(seed=s), 2, seed=s) for s in (1, 1, 2))
    for left, right in zip(one.initial_weights()[0], two.initial_weights()[0], strict=True):
        np.testing.assert_array_equal(left, right)
    assert (one.initial_weights()[0][0] != other.initial_weights()[0][0]).any()
    assert (one.initial_weights()[0][-2] != other.initial_weights()[0][-2]).any()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"num_labels": 1}, "corpus: .* two labels"),
        ({"pooling": "max"}, "pooling=max: must be one of mean, cls, pooler"),
        ({"trainable": "some"}, "trainable=some: must be one of all"),
        ({"trainable": "top_3"}, "trainable=top_3: the encoder has 2 layers"),
        ({"trainable": "top_0"}, "trainable=top_0"),
        ({"dropout": 1.0}, "dropout=1.0"),
    ],
)
def test_impossible_arguments(tiny, arguments, message):
    with pytest.raises(UserError, match=message):
        classifier.build(tiny(), **({"num_labels": 2} | arguments))


def test_one_encoder_one_classifier(tiny):
    encoder = tiny()
    classifier.build(encoder, 2)
    with pytest.raises(ValueError, match="another classifier"):
        classifier.build(encoder, 2)


PAIR_IDS = np.array(
    [[2, 34, 3, 35, 12, 3, 0], [2, 12, 3, 3, 0, 0, 0], [2, 9, 8, 3, 6, 5, 3]], np.int32
)
SEGMENTS = np.array([[0, 0, 0, 1, 1, 1, 0], [0, 0, 0, 1, 0, 0, 0], [0, 0, 0, 0, 1, 1, 1]], np.int32)


@pytest.mark.parametrize("pooling", ["mean", "cls", "pooler"])
def test_pairs_equal_kerasnlps_bert_with_segment_ids(tiny, pooling):
    encoder = tiny()
    model = classifier.build(encoder, 3, pooling=pooling, pairs=True)
    weights, frozen = model.initial_weights()
    # Make the rows of the segment table differ by more than initial values do.
    place = model.trainable_names.index("segment_embedding/embeddings")
    weights[place][1] += np.linspace(-1, 1, 32, dtype=np.float32)
    encoder.backbone.get_layer("segment_embedding").set_weights([weights[place]])
    inputs = {"token_ids": PAIR_IDS, "segment_ids": SEGMENTS, "padding_mask": PAIR_IDS != 0}
    both = encoder.backbone(inputs, training=False)
    pooled = both["pooled_output"]
    if pooling != "pooler":
        real = (PAIR_IDS != 0)[..., None]
        outputs = both["sequence_output"].numpy()
        pooled = outputs[:, 0] if pooling == "cls" else (outputs * real).sum(1) / real.sum(1)
    kernel, bias = (weights[model.trainable_names.index(f"head/{n}")] for n in ("kernel", "bias"))
    segments = model.tokenizer.segment_ids(PAIR_IDS)
    np.testing.assert_array_equal(segments, SEGMENTS)
    found = model.logits(weights, frozen, PAIR_IDS, PAIR_IDS != 0, seed=None, segment_ids=segments)
    np.testing.assert_allclose(found, pooled @ kernel + bias, atol=ROUNDING)
    np.testing.assert_array_equal(found, model.keras_model(PAIR_IDS, training=False))
    zeros = np.zeros_like(SEGMENTS)
    other = model.logits(weights, frozen, PAIR_IDS, PAIR_IDS != 0, seed=None, segment_ids=zeros)
    assert np.abs(other - found).max() > 10 * ROUNDING


def test_segment_ids_belong_to_pairs(tiny):
    for pairs, segment_ids in ((False, SEGMENTS), (True, None)):
        model = classifier.build(tiny(), 2, pairs=pairs)
        with pytest.raises(ValueError, match="a model of pairs needs segment_ids"):
            model.logits(*model.initial_weights(), IDS, MASK, seed=None, segment_ids=segment_ids)


def test_an_encoder_of_one_segment_reads_no_pairs():
    backbone = encoders.build_backbone(
        vocabulary_size=40,
        num_layers=1,
        num_heads=1,
        hidden_dim=8,
        intermediate_dim=8,
        max_sequence_length=8,
        num_segments=1,
    )
    encoder = encoders.Encoder("one", backbone, Tokenizer(SPECIAL_TOKENS), False)
    with pytest.raises(UserError, match="task=pairs: the encoder one has no segment embedding"):
        classifier.build(encoder, 2, pairs=True)
    assert classifier.build(encoder, 2).num_labels == 2
