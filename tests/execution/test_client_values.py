"""Results that are placed at clients, in the streaming context."""

import collections

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_federated as tff

from tests.execution.conftest import assert_close, run_in
from tff_nlp.execution import streaming

NUMBERS = tff.SequenceType(np.int32)
DATA = tff.FederatedType(NUMBERS, tff.CLIENTS)
STATE = tff.FederatedType(np.int32, tff.SERVER)


@tff.tensorflow.computation(NUMBERS, np.int32)
def _work(numbers, start):
    total = numbers.reduce(start, lambda a, b: a + b)
    return collections.OrderedDict(
        total=total, report=(tf.strings.as_string(total), tf.range(total)), numbers=numbers
    )


@tff.tensorflow.computation(_work.type_signature.result)
def _total(result):
    return result["total"]


@tff.tensorflow.computation(_work.type_signature.result)
def _report(result):
    return result["report"]


@tff.tensorflow.computation(np.int32, np.int32)
def _plus(a, b):
    return a + b


@tff.federated_computation(STATE, DATA)
def with_reports(state, numbers):
    """A round that returns the state, and a structure of sums and of values per client."""
    work = tff.federated_map(_work, (numbers, tff.federated_broadcast(state)))
    total = tff.federated_sum(tff.federated_map(_total, work))
    new_state = tff.federated_map(_plus, (state, total))
    reports = tff.federated_map(_report, work)
    return new_state, collections.OrderedDict(total=total, reports=reports, all=work)


@tff.federated_computation(DATA, STATE)
def only_mapped(numbers, start):
    """federated_map and nothing else."""
    return tff.federated_map(_work, (numbers, tff.federated_broadcast(start)))


@tff.tensorflow.computation(NUMBERS)
def _total_of(numbers):
    return numbers.reduce(0, lambda a, b: a + b)


@tff.federated_computation(STATE, DATA)
def broadcast_back(state, numbers):
    """A value that is equal at all clients is returned once."""
    return tff.federated_broadcast(state), tff.federated_map(_total_of, numbers)


CLIENTS = [[1, 2], [3], [4, 5, 6], [7]]


@pytest.mark.parametrize(
    ("computation", "arguments"),
    [
        (with_reports, (10, CLIENTS)),
        (only_mapped, (CLIENTS, 10)),
        (broadcast_back, (10, CLIENTS)),
    ],
)
@pytest.mark.parametrize("lanes", [1, 3])
def test_the_same_as_tffs_worker_in_the_order_of_the_clients(
    reference, lanes, computation, arguments
):
    context = streaming.StreamingContext(["/CPU:0"] * lanes)
    assert context.form(computation) is not None
    ours = run_in(context, computation, *arguments)
    assert_close(ours, run_in(reference, computation, *arguments), 0.0)


def test_without_clients(context):
    assert run_in(context, only_mapped, [], 10) == []
    with pytest.raises(ValueError, match="no client to take it from"):
        run_in(context, broadcast_back, 10, [])


def test_a_client_that_fails_has_no_value():
    @tff.tensorflow.computation(np.int32)
    def positive(x):
        with tf.control_dependencies([tf.debugging.assert_positive(x)]):
            return tf.identity(x)

    @tff.federated_computation(tff.FederatedType(np.int32, tff.CLIENTS))
    def values(numbers):
        return tff.federated_map(positive, numbers)

    context = streaming.StreamingContext(["/CPU:0"] * 2, max_failed_clients=1)
    assert run_in(context, values, [1, -2, 3]) == [1, 3]
    assert context.failed_clients == (1,)
