"""What aggregators do is read off the objects, TFF's own and what is wrapped included."""

import pytest
import tensorflow as tf
import tensorflow_federated as tff
import tensorflow_privacy as tfp

from tff_nlp.aggregation.compression.coded_mean import CodedMeanFactory
from tff_nlp.aggregation.compression.coding import Coding
from tff_nlp.aggregation.compression.rounding import Rounding
from tff_nlp.privacy import aggregator_properties, mechanism, names, releases
from tff_nlp.privacy.properties import Properties, configured

PRIVATE = tff.aggregators.DifferentiallyPrivateFactory
QUERY = tfp.NormalizedQuery(tfp.GaussianSumQuery(1.0, 1.0), 4.0)
SPEC = tf.TensorSpec([2], tf.float32)
QUANTIZED = tff.aggregators.EncodedSumFactory.quantize_above_threshold(8, 1)
ROUNDED = "`aggregator`=EncodedSumFactory"


class Wrapper(tff.aggregators.UnweightedAggregationFactory):
    """Somebody's own aggregator, which adds nothing."""

    def __init__(self, inner):
        self.anything = inner

    def create(self, value_type):
        return self.anything.create(value_type)


@pytest.mark.parametrize("name", names.CLIENT_LEVEL)
def test_a_mechanism_is_known_by_its_settings_and_by_its_object(name):
    built = mechanism.build_aggregator(mechanism.Mechanism(name, 1.0, 40))
    assert aggregator_properties.of(built) == configured(name)
    assert aggregator_properties.of(releases.ReleasingFactory(built)) == configured(name)


def test_so_are_rounding_and_secure_sums():
    assert aggregator_properties.of(CodedMeanFactory(Coding(Rounding(8), 0))) == configured(
        coded_by="`upload_bits`=8"
    )
    secure = tff.learning.secure_aggregator(zeroing=False, clipping=True)
    assert aggregator_properties.of(secure) == configured(secure_sum=True)


@pytest.mark.parametrize(
    ("aggregator", "expected"),
    [
        (PRIVATE.gaussian_fixed(1.0, 2, 1.0), names.GAUSSIAN),
        (PRIVATE.gaussian_adaptive(0.5, 100), names.ADAPTIVE_CLIPPING),
        (PRIVATE.tree_aggregation(1.0, 4, 1.0, SPEC), names.TREE_AGGREGATION),
        (PRIVATE.tree_adaptive(0.1, 40, SPEC), names.TREE_AGGREGATION),
        (PRIVATE(tfp.NoPrivacySumQuery()), names.OTHER),
        (tff.learning.dp_aggregator(1.0, 40), names.ADAPTIVE_CLIPPING),
        (tff.aggregators.zeroing_factory(9.0, PRIVATE(QUERY)), names.GAUSSIAN),
        (tff.aggregators.clipping_factory(9.0, PRIVATE(QUERY)), names.GAUSSIAN),
        (tff.aggregators.concat_factory(PRIVATE(QUERY)), names.GAUSSIAN),
        (tff.aggregators.HadamardTransformFactory(PRIVATE(QUERY)), names.GAUSSIAN),
        (tff.aggregators.as_weighted_aggregator(PRIVATE(QUERY)), names.GAUSSIAN),
        (
            tff.aggregators.add_measurements(PRIVATE(QUERY), server_measurement_fn=lambda v: v),
            names.GAUSSIAN,
        ),
        (Wrapper(Wrapper(PRIVATE(QUERY))), names.GAUSSIAN),
    ],
)
def test_tffs_mechanisms_are_found_wherever_they_are(aggregator, expected):
    """Inside of another aggregator, as in TFF's own `dp_aggregator`, they used to be overlooked."""
    assert aggregator_properties.of(aggregator) == Properties(mechanism=expected)


@pytest.mark.parametrize(
    ("aggregator", "expected"),
    [
        (None, {}),
        (tff.aggregators.MeanFactory(), {}),
        (tff.learning.robust_aggregator(), {}),
        (
            tff.learning.ddp_secure_aggregator(1.0, 40),
            {"mechanism": names.DISTRIBUTED, "secure_sum": True},
        ),
        (tff.aggregators.clipping_factory(1.0, tff.aggregators.SumFactory()), {"clips": True}),
        (
            tff.aggregators.clipping_factory(1.0, tff.aggregators.MeanFactory(QUANTIZED)),
            {"clips": True, "coded_by": ROUNDED},
        ),
        # Its norm adapts, and bounds nothing that is known before.
        (tff.learning.compression_aggregator(), {"coded_by": ROUNDED}),
        (PRIVATE(QUERY, QUANTIZED), {"mechanism": names.GAUSSIAN, "coded_by": ROUNDED}),
        (
            PRIVATE(QUERY, tff.aggregators.SecureSumFactory(1.0)),
            {"mechanism": names.GAUSSIAN, "secure_sum": True},
        ),
        (tff.aggregators.UnweightedReservoirSamplingFactory(3), {"sums_suffice": False}),
        # Only the count of clients is a secure sum here.
        (
            tff.aggregators.UnweightedMeanFactory(
                count_sum_factory=tff.aggregators.SecureSumFactory(9, 0)
            ),
            {},
        ),
    ],
)
def test_what_else_tffs_aggregators_do(aggregator, expected):
    assert aggregator_properties.of(aggregator) == Properties(**expected)
