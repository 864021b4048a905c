"""An aggregator that also returns its result in its measurements is otherwise unchanged."""

import collections

import numpy as np
import tensorflow_federated as tff

from tff_nlp.privacy import mechanism, releases


def test_the_result_comes_with_the_measurements():
    """Results, states and measurements are those of the aggregator without the wrapper."""
    settings = mechanism.Mechanism(name="gaussian", noise_multiplier=0.5, clients_per_round=2)
    plain = mechanism.build_aggregator(settings)
    value_type = tff.types.to_type([(np.float32, [3]), (np.float32, [2, 2])])
    values = [[np.full(3, i, np.float32), np.full((2, 2), i, np.float32)] for i in (0.1, 3)]
    outputs = []
    for factory in (plain, releases.ReleasingFactory(plain)):
        process = factory.create(value_type)
        key = np.arange(1, 9, dtype=np.uint32)
        outputs.append(process.next(mechanism.with_key(process.initialize(), key), values))
    measured, release = releases.detach(outputs[1].measurements)
    assert measured == outputs[0].measurements
    for mine, theirs in zip(outputs[1].result, outputs[0].result, strict=True):
        np.testing.assert_array_equal(mine, theirs)
    for mine, theirs in zip(release, outputs[0].result, strict=True):
        np.testing.assert_array_equal(mine, theirs)
    assert releases.detach(outputs[0].measurements) == (outputs[0].measurements, None)
    assert releases.detach(()) == ((), None)
    assert isinstance(measured, collections.OrderedDict)
