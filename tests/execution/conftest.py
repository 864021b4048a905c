"""Contexts to compare, and small processes and clients to compare them on."""

import collections
import functools

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_federated as tff

from tff_nlp.execution import streaming, worker

FEATURES, LABELS = 5, 3
BATCH_SPEC = collections.OrderedDict(
    x=tf.TensorSpec([None, FEATURES], tf.float32), y=tf.TensorSpec([None], tf.int32)
)


@pytest.fixture(scope="session")
def context():
    """The streaming context with two lanes on every machine."""
    return streaming.StreamingContext(["/CPU:0"] * 2)


@pytest.fixture(scope="session")
def reference():
    """TFF's own worker. It runs secure sums in the clear."""
    yield tff.backends.test.create_sync_test_cpp_execution_context()
    worker.end_workers()


def run_in(context, function, *arguments):
    """Calls a function with a context as TFF's default context."""
    with tff.framework.get_context_stack().install(context):
        return function(*arguments)


@pytest.fixture(scope="module", autouse=True)
def _eager_keras():
    yield
    # See the fixture `oracle` of tests/learning.
    layers = [tf.keras.layers.InputLayer((1,)), tf.keras.layers.Dense(1)]
    tf.keras.Model(inputs := tf.keras.Input([1]), tf.keras.Sequential(layers)(inputs))


def keras_model_fn():
    """A model with trainable variables, frozen variables and metrics."""
    layers = [
        tf.keras.layers.Dense(4, "tanh", kernel_initializer=_initializer(0)),
        tf.keras.layers.Dense(4, trainable=False, kernel_initializer=_initializer(1)),
        tf.keras.layers.Dense(LABELS, kernel_initializer=_initializer(2)),
    ]
    return tff.learning.models.from_keras_model(
        tf.keras.Sequential([tf.keras.layers.InputLayer((FEATURES,)), *layers]),
        loss=tf.keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        input_spec=BATCH_SPEC,
        metrics=[tf.keras.metrics.SparseCategoricalAccuracy()],
    )


def _initializer(seed):
    return tf.keras.initializers.GlorotUniform(seed)


def batches(seed, examples, size=4):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(examples, FEATURES)).astype(np.float32)
    y = rng.integers(0, LABELS, examples).astype(np.int32)
    rows = tf.data.Dataset.from_tensor_slices(collections.OrderedDict(x=x, y=y))
    return rows.batch(size)


@functools.cache
def cohort():
    """Clients of 10, 7, 4, 13 and 1 examples."""
    return tuple(batches(s, n) for s, n in enumerate((10, 7, 4, 13, 1)))


def leaves(value):
    """Returns the numbers in a TFF value as a list of arrays."""
    if isinstance(value, tff.structure.Struct):
        return [leaf for _, v in tff.structure.iter_elements(value) for leaf in leaves(v)]
    if isinstance(value, tf.data.Dataset):
        return [leaf for element in value for leaf in leaves(element)]
    if hasattr(value, "__attrs_attrs__"):
        return [leaf for a in value.__attrs_attrs__ for leaf in leaves(getattr(value, a.name))]
    if isinstance(value, dict):
        return [leaf for v in value.values() for leaf in leaves(v)]
    if isinstance(value, (list, tuple)):
        return [leaf for v in value for leaf in leaves(v)]
    return [np.asarray(value)]


def to_numpy(value):
    """Returns a value as plain NumPy arrays, independent of any context."""
    return tf.nest.map_structure(
        lambda v: v.numpy() if isinstance(v, tf.Tensor) else v, value, expand_composites=False
    )


def assert_close(ours, theirs, bound):
    """Compares two TFF values; `bound` is relative to the largest number of each tensor."""
    left, right = leaves(ours), leaves(theirs)
    assert len(left) == len(right)
    for index, (a, b) in enumerate(zip(left, right, strict=True)):
        assert a.shape == b.shape, f"leaf {index}"
        if a.dtype.kind in "SUO":
            assert a.tolist() == b.tolist(), f"leaf {index}"
            continue
        assert a.dtype == b.dtype, f"leaf {index}"
        scale = max(1.0, float(np.abs(b).max(initial=0.0)))
        exact = a.dtype.kind not in "fc"
        np.testing.assert_allclose(
            a, b, rtol=0, atol=0 if exact else bound * scale, err_msg=f"leaf {index}"
        )
