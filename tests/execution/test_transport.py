"""Values and forms are unchanged after they are sent to another process."""

import collections

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_federated as tff

from tests.execution.conftest import leaves, run_in
from tests.execution.test_streaming import _fed_avg, add_up
from tff_nlp.execution import forms, graphs, secure_sums, structures, transport

_ROWS = tff.SequenceType(
    collections.OrderedDict(
        # Not in alphabetical order, which TensorFlow would flatten them in.
        y=tff.TensorType(np.int32, [None]),
        x=tff.TensorType(np.float32, [None, 3]),
    )
)


def _rows(*sizes):
    def make(size):
        x = np.arange(size * 3, dtype=np.float32).reshape(size, 3)
        return collections.OrderedDict(y=np.full(size, size, np.int32), x=x)

    return [make(size) for size in sizes]


def _there_and_back(value, type_spec, **limit):
    types = list(structures.flatten_types(type_spec))
    arrays = transport.to_arrays(structures.flatten(value, type_spec), types, **limit)
    tensors = transport.to_tensors(arrays, types)
    return arrays, structures.pack(iter(tensors), type_spec)


@pytest.mark.parametrize("sizes", [(2, 5, 1), (4,), ()])
def test_data_sets_of_ragged_batches(sizes):
    _, after = _there_and_back(_rows(*sizes), _ROWS)
    elements = list(after)
    assert len(elements) == len(sizes)
    for element, expected in zip(elements, _rows(*sizes), strict=True):
        assert list(element) == ["y", "x"]
        np.testing.assert_array_equal(element["y"], expected["y"])
        np.testing.assert_array_equal(element["x"], expected["x"])


def test_values_of_all_kinds():
    type_spec = tff.to_type(
        (np.int64, np.bool_, tff.TensorType(np.str_, [2]), tff.SequenceType(np.str_), _ROWS)
    )
    value = (2**40, True, np.array(["a", "ü"]), ["one", "two"], _rows(2))
    arrays, after = _there_and_back(value, type_spec)
    assert int(after[0]) == 2**40
    assert bool(after[1])
    assert [s.decode() for s in after[2]] == ["a", "ü"]
    assert [s.numpy() for s in after[3]] == [b"one", b"two"]
    assert transport.size(arrays) == 8 + 1 + 3 + 6 + 2 * 4 * 4


def test_a_data_set_may_be_too_large():
    size = 3 * (4 + 12)
    assert _there_and_back(_rows(2, 1), _ROWS, max_bytes=size)
    with pytest.raises(transport.TooLargeError, match="more than 47 bytes"):
        _there_and_back(_rows(2, 1), _ROWS, max_bytes=size - 1)
    endless = tf.data.Dataset.from_tensors(np.int32(1)).repeat()
    with pytest.raises(transport.TooLargeError):
        _there_and_back(endless, tff.SequenceType(np.int32), max_bytes=100)


def test_a_form(context):
    process = _fed_avg()
    form = forms.compile_round(process.next)
    summands = secure_sums.summands_of(form)
    packed = transport.pack_form(form, summands)
    after, same = transport.unpack_form(packed)
    assert same == summands
    for name in ("state_type", "data_type"):
        assert getattr(after, name).is_equivalent_to(getattr(form, name))
    state = structures.flatten(run_in(context, process.initialize), form.state_type)
    ours, theirs = (graphs.wrap(f.prepare)(state) for f in (form, after))
    for a, b in zip(ours, theirs, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize(
    ("kind", "limit", "highest"),
    [("bitwidth", 8, 255), ("max_input", 2**31, 2**31), ("modulus", 2**40, 2**40 - 1)],
)
def test_the_largest_input_of_a_summand(kind, limit, highest):
    assert secure_sums.Summand(kind, limit, tf.TensorSpec([], tf.int64)).highest == highest


def test_summands_keep_their_limits():
    summand = secure_sums.Summand("max_input", 10, tf.TensorSpec([2], tf.int32))
    _, (same,) = transport.unpack_form(transport.pack_form(forms.compile_round(add_up), [summand]))
    assert same == summand
    assert leaves(same.highest) == [10]
