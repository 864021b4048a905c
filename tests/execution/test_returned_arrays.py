"""Results have the kinds that TFF returns, and go back to tensors without a copy."""

import gc

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_federated as tff

from tests.execution.conftest import run_in
from tff_nlp.execution import returned_arrays


@pytest.mark.parametrize("dtype", [np.float32, np.int64, np.bool_, tf.bfloat16.as_numpy_dtype])
def test_kinds_are_those_of_tffs_worker(context, reference, dtype):
    @tff.tensorflow.computation
    def values():
        return (
            tf.cast(1, dtype),
            tf.cast([[0, 1]], dtype),
            tf.zeros([0, 3], dtype),
            tf.constant("a"),
            tf.constant(["a", "bc"]),
        )

    ours, theirs = run_in(context, values), run_in(reference, values)
    for one, other in zip(ours, theirs, strict=True):
        assert type(one) is type(other)
        assert np.asarray(one).dtype == np.asarray(other).dtype
        np.testing.assert_array_equal(one, other)
        if isinstance(one, np.ndarray):
            assert one.flags.writeable == other.flags.writeable


def test_a_returned_array_becomes_its_tensor_again():
    tensor = tf.constant([1.0, 2.0])
    array = returned_arrays.array(tensor)
    assert returned_arrays.tensor(array, tf.float32) is tensor
    # Views and copies of the array become new tensors.
    assert returned_arrays.tensor(array[:1], tf.float32).shape == [1]
    assert returned_arrays.tensor(array.copy(), tf.float32) is not tensor
    with pytest.raises(ValueError, match="read-only"):
        array[0] = 5.0


def test_an_array_that_was_made_writable_is_converted():
    tensor = tf.constant([1.0, 2.0])
    array = returned_arrays.array(tensor)
    try:
        array.flags.writeable = True
    except ValueError:
        pytest.skip("NumPy refuses it")
    array[0] = 5.0
    np.testing.assert_array_equal(returned_arrays.tensor(array, tf.float32), [5.0, 2.0])


def test_the_tensor_of_a_deleted_array_is_released():
    gc.collect()
    before = len(returned_arrays._tensors)
    arrays = [returned_arrays.array(tf.constant([float(n)])) for n in range(3)]
    assert len(returned_arrays._tensors) == before + 3
    del arrays
    gc.collect()
    assert len(returned_arrays._tensors) == before
