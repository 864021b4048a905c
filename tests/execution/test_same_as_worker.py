"""Every algorithm and aggregator that TFF offers: the streaming context against TFF's worker.

`BOUND` allows for another order of float32 additions, in the sum over at most five clients and in
the kernels of another TensorFlow build. It is a few units in the last place of a tensor's largest
number, and the difference grows over the rounds.
"""

import collections
import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_federated as tff

from tests.execution.conftest import (
    BATCH_SPEC,
    FEATURES,
    assert_close,
    cohort,
    keras_model_fn,
    run_in,
    to_numpy,
)
from tff_nlp.aggregation.compression.coded_mean import CodedMeanFactory
from tff_nlp.aggregation.compression.coding import Coding
from tff_nlp.aggregation.compression.power_sgd import PowerSgd
from tff_nlp.aggregation.compression.random_k import RandomK
from tff_nlp.aggregation.compression.rounding import Rounding
from tff_nlp.aggregation.compression.signs import Signs
from tff_nlp.aggregation.compression.top_k import TopK

BOUND = 2e-5

_algorithms = tff.learning.algorithms
_aggregators = tff.aggregators
_sgd = tff.learning.optimizers.build_sgdm


@dataclasses.dataclass(frozen=True)
class Case:
    build: Callable[[], Any]
    data: Callable[[], list] = lambda: list(cohort())
    rounds: int = 3
    quick: bool = False
    bound: float = BOUND


def _fed_avg(**arguments):
    return _algorithms.build_weighted_fed_avg(
        keras_model_fn, _sgd(0.1, 0.9), tff.learning.optimizers.build_adam(0.1), **arguments
    )


def _unweighted(**arguments):
    return _algorithms.build_unweighted_fed_avg(keras_model_fn, _sgd(0.1), _sgd(1.0), **arguments)


def _kmeans():
    return _algorithms.build_fed_kmeans(num_clusters=3, data_shape=(FEATURES,), random_seed=(1, 2))


def _kmeans_data():
    return [d.unbatch().map(lambda b: b["x"]) for d in cohort()]


def _reconstruction_model():
    inputs = tf.keras.Input([FEATURES])
    local = tf.keras.layers.Dense(3, kernel_initializer=tf.keras.initializers.GlorotUniform(4))
    last = tf.keras.layers.Dense(3, kernel_initializer=tf.keras.initializers.GlorotUniform(5))
    return tff.learning.models.ReconstructionModel.from_keras_model_and_layers(
        tf.keras.Model(inputs, last(local(inputs))),
        global_layers=[last],
        local_layers=[local],
        input_spec=BATCH_SPEC,
    )


def _reconstruction():
    return _algorithms.build_fed_recon(
        _reconstruction_model,
        loss_fn=lambda: tf.keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics_fn=lambda: [tf.keras.metrics.SparseCategoricalAccuracy()],
        client_optimizer_fn=_sgd(0.1),
        reconstruction_optimizer_fn=_sgd(0.1),
        dataset_split_fn=tff.learning.models.ReconstructionModel.simple_dataset_split_fn,
    )


ALGORITHMS = {
    "weighted_fed_avg": Case(_fed_avg, quick=True),
    "unweighted_fed_avg": Case(_unweighted),
    "fed_avg_iterator_loop": Case(
        lambda: _fed_avg(loop_implementation=tff.learning.LoopImplementation.DATASET_ITERATOR)
    ),
    "weighted_fed_prox": Case(
        lambda: _algorithms.build_weighted_fed_prox(keras_model_fn, 0.5, _sgd(0.1))
    ),
    "unweighted_fed_prox": Case(
        lambda: _algorithms.build_unweighted_fed_prox(keras_model_fn, 0.5, _sgd(0.1))
    ),
    "weighted_mime_lite": Case(
        lambda: _algorithms.build_weighted_mime_lite(keras_model_fn, _sgd(0.1, 0.9))
    ),
    "unweighted_mime_lite": Case(
        lambda: _algorithms.build_unweighted_mime_lite(keras_model_fn, _sgd(0.1, 0.9))
    ),
    "mime_lite_schedule": Case(
        lambda: _algorithms.build_mime_lite_with_optimizer_schedule(
            keras_model_fn, lambda r: 0.1 / (tf.cast(r, tf.float32) + 1.0), _sgd(0.1, 0.9)
        )
    ),
    "fed_sgd": Case(lambda: _algorithms.build_fed_sgd(keras_model_fn, _sgd(0.5))),
    "optimizer_schedule": Case(
        lambda: _algorithms.build_weighted_fed_avg_with_optimizer_schedule(
            keras_model_fn,
            lambda r: 0.1 / (tf.cast(r, tf.float32) + 1.0),
            lambda rate: _sgd(rate),
            _sgd(1.0),
        )
    ),
    "fed_eval": Case(lambda: _algorithms.build_fed_eval(keras_model_fn), quick=True),
    "kmeans": Case(_kmeans, _kmeans_data),
    "fed_recon": Case(_reconstruction),
    "robust": Case(lambda: _fed_avg(model_aggregator=tff.learning.robust_aggregator())),
    "compression": Case(lambda: _fed_avg(model_aggregator=tff.learning.compression_aggregator())),
    "secure": Case(lambda: _fed_avg(model_aggregator=tff.learning.secure_aggregator())),
    "debug_measurements": Case(
        lambda: _fed_avg(
            model_aggregator=tff.learning.add_debug_measurements(tff.learning.robust_aggregator())
        )
    ),
}


def _matrix(cases):
    for name, case in cases.items():
        yield pytest.param(case, marks=() if case.quick else pytest.mark.slow, id=name)


@pytest.mark.thorough
@pytest.mark.parametrize("case", _matrix(ALGORITHMS))
def test_algorithms(case, context, reference):
    process, data = case.build(), case.data()
    state = to_numpy(run_in(context, process.initialize))
    states = {context: state, reference: state}
    for _ in range(case.rounds):
        outputs = {c: run_in(c, process.next, states[c], data) for c in (context, reference)}
        ours, theirs = outputs[context], outputs[reference]
        assert type(ours) is type(theirs)
        assert_close(ours, theirs, case.bound)
        states = {c: output.state for c, output in outputs.items()}
    # The other context can continue from the state of the first one.
    run_in(reference, process.next, to_numpy(states[context]), data)


_VALUE_SPEC = (tf.TensorSpec([64], tf.float32), tf.TensorSpec([3, 2], tf.float32))
_CLIENTS = 5


def _values():
    rng = np.random.default_rng(0)
    return [
        tuple((0.3 * rng.normal(size=s.shape)).astype(np.float32) for s in _VALUE_SPEC)
        for _ in range(_CLIENTS)
    ]


def _dp():
    """Differential privacy without noise, because noise differs between two runs."""
    return _aggregators.DifferentiallyPrivateFactory.gaussian_fixed(
        noise_multiplier=0.0, clients_per_round=_CLIENTS, clip=0.5
    )


def _tree():
    return _aggregators.DifferentiallyPrivateFactory.tree_aggregation(
        noise_multiplier=0.0, clients_per_round=_CLIENTS, l2_norm_clip=0.5, record_specs=_VALUE_SPEC
    )


def _adaptive_clip(make):
    return make(_aggregators.PrivateQuantileEstimationProcess.no_noise(1.0, 0.5, 0.2), _mean())


def _mean():
    return _aggregators.MeanFactory()


AGGREGATORS = {
    "sum": Case(_aggregators.SumFactory),
    "mean": Case(_mean, quick=True),
    "unweighted_mean": Case(_aggregators.UnweightedMeanFactory),
    "clipping": Case(lambda: _aggregators.clipping_factory(0.7, _mean())),
    "adaptive_clipping": Case(lambda: _adaptive_clip(_aggregators.clipping_factory)),
    "zeroing": Case(lambda: _aggregators.zeroing_factory(0.7, _mean())),
    "adaptive_zeroing": Case(lambda: _adaptive_clip(_aggregators.zeroing_factory)),
    "robust": Case(tff.learning.robust_aggregator, quick=True),
    "compression": Case(tff.learning.compression_aggregator),
    "quantized": Case(lambda: CodedMeanFactory(Coding(Rounding(4), 3)), quick=True),
    **{
        name: Case(lambda codec=codec: CodedMeanFactory(Coding(codec, 3, False)), bound=1e-4)
        for name, codec in (
            ("top_k", TopK(0.3)),
            ("random_k", RandomK(0.3)),
            ("power_sgd", PowerSgd(1)),
            ("signs", Signs()),
        )
    },
    "dp_fixed": Case(_dp, quick=True),
    "dp_tree": Case(_tree),
    "secure_sum": Case(lambda: _aggregators.SecureSumFactory(1.0, -1.0), quick=True),
    "secure_mean": Case(
        lambda: _aggregators.UnweightedMeanFactory(_aggregators.SecureSumFactory(1.0))
    ),
    "secure_adaptive": Case(
        lambda: _aggregators.SecureSumFactory(
            _aggregators.PrivateQuantileEstimationProcess.no_noise(1.0, 0.9, 0.2)
        )
    ),
    "secure_aggregator": Case(tff.learning.secure_aggregator, quick=True),
    "secure_aggregator_unweighted": Case(lambda: tff.learning.secure_aggregator(weighted=False)),
    "concat": Case(lambda: _aggregators.concat_factory(_aggregators.SumFactory())),
    "hadamard": Case(
        lambda: _aggregators.HadamardTransformFactory(_aggregators.SumFactory()), bound=1e-4
    ),
    "debug": Case(lambda: tff.learning.add_debug_measurements(_mean())),
}


def _aggregation(factory):
    value_type = tff.types.tensorflow_to_type(_VALUE_SPEC)
    if isinstance(factory, _aggregators.UnweightedAggregationFactory):
        return factory.create(value_type), ()
    weights = [float(w) for w in range(1, _CLIENTS + 1)]
    return factory.create(value_type, tff.TensorType(np.float32)), (weights,)


@pytest.mark.parametrize("case", _matrix(AGGREGATORS))
def test_aggregators(case, context, reference):
    process, weights = _aggregation(case.build())
    state = to_numpy(run_in(context, process.initialize))
    states = {context: state, reference: state}
    for _ in range(2):
        outputs = {
            c: run_in(c, process.next, states[c], _values(), *weights) for c in (context, reference)
        }
        assert_close(outputs[context], outputs[reference], case.bound)
        states = {c: output.state for c, output in outputs.items()}


@pytest.mark.slow
def test_distributed_dp_is_the_sum_but_for_its_noise(context):
    """Every run draws new noise, so each run is compared with the plain sum."""
    factory = tff.learning.ddp_secure_aggregator(
        noise_multiplier=1e-3, expected_clients_per_round=_CLIENTS, bits=20
    )
    process, _ = _aggregation(factory)

    def run():
        state = process.initialize()
        for _ in range(2):
            output = process.next(state, _values())
            state = output.state
        return output

    output = run_in(context, run)
    # The sum is clipped to a norm that the aggregator adapts, so only the direction is compared.
    plain = [np.mean(parts, axis=0).ravel() for parts in zip(*_values(), strict=True)]
    result = [np.asarray(r).ravel() for r in output.result]
    a, b = np.concatenate(plain), np.concatenate(result)
    assert np.dot(a, b) / (np.linalg.norm(a) * np.linalg.norm(b)) > 0.99


@pytest.mark.thorough
def test_own_processes(context, reference):
    from tests.learning import conftest as learning
    from tff_nlp.learning import client_work, composition, optimizers
    from tff_nlp.learning.algorithms import fed_avg
    from tff_nlp.tasks import classification

    model = learning.tiny_classifier(dropout=0.2)
    task = classification.classification(model)
    process = fed_avg.fed_avg(
        task,
        client_work.LocalWork(optimizers.ClientOptimizer("sgd", 0.1, momentum=0.9), seed=3),
        server_optimizer=optimizers.ServerOptimizer("adam", 0.01),
    )
    data = learning.cohort(model)
    state = to_numpy(run_in(context, composition.initial_state, process, task))
    states = {context: state, reference: state}
    for _ in range(2):
        outputs = {c: run_in(c, process.next, states[c], data) for c in (context, reference)}
        # Server Adam divides by the root of squared updates, so small differences grow.
        assert_close(outputs[context], outputs[reference], 1e-4)
        states = {c: output.state for c, output in outputs.items()}


def test_an_ordered_dict_of_named_values(context, reference):
    @tff.tensorflow.computation(BATCH_SPEC)
    def totals(batch):
        return collections.OrderedDict(b=tf.reduce_sum(batch["x"]), a=tf.reduce_sum(batch["y"]))

    element = tff.types.tensorflow_to_type(BATCH_SPEC)

    @tff.federated_computation(tff.FederatedType(element, tff.CLIENTS))
    def total(batch):
        return tff.federated_sum(tff.federated_map(totals, batch))

    data = [next(iter(d)) for d in cohort()]
    ours, theirs = (run_in(c, total, data) for c in (context, reference))
    assert list(ours) == list(theirs) == ["b", "a"]
    assert_close(ours, theirs, BOUND)
