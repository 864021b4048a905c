"""Several threads use one context, and each gets the results of its own arguments."""

import concurrent.futures
import gc
import weakref

import numpy as np
import tensorflow as tf
import tensorflow_federated as tff

from tests.execution.conftest import run_in

FLOATS = tff.FederatedType(np.float32, tff.CLIENTS)


@tff.tensorflow.computation(np.float32)
def _through_a_variable(x):
    variable = tf.Variable(x)
    with tf.control_dependencies([variable.assign_add(1.0)]):
        return variable.read_value()


@tff.federated_computation(FLOATS)
def _sum(values):
    return tff.federated_sum(tff.federated_map(_through_a_variable, values))


@tff.federated_computation(FLOATS)
def _mean_distance(values):
    mean = tff.federated_broadcast(tff.federated_mean(values))
    minus = tff.tensorflow.computation(lambda a, b: abs(a - b), (np.float32, np.float32))
    return tff.federated_sum(tff.federated_map(minus, (values, mean)))


def _wrong(context, thread):
    """Returns the results that do not belong to the arguments."""
    wrong = []
    for number in range(thread * 1000, thread * 1000 + 15):
        values = [float(number)] * 3
        for computation, argument, expected in (
            (_sum, values, 3.0 * (number + 1)),
            (_through_a_variable, float(number), number + 1.0),
            (_mean_distance, values, 0.0),
        ):
            result = run_in(context, computation, argument)
            if result != expected:
                wrong.append((computation, result, expected))
    return wrong


def test_results_belong_to_their_arguments(context):
    with concurrent.futures.ThreadPoolExecutor(4) as threads:
        assert [
            w for wrong in threads.map(lambda t: _wrong(context, t), range(4)) for w in wrong
        ] == []


def test_a_deleted_computation_is_released(context):
    def make():
        @tff.federated_computation(FLOATS)
        def total(values):
            return tff.federated_sum(values)

        assert run_in(context, total, [1.0, 2.0]) == 3.0
        return weakref.ref(total), weakref.ref(context._programs[id(total)])

    computation, program = make()
    gc.collect()
    assert computation() is None
    assert program() is None
