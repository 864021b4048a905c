"""Aggregation of low-rank factors, against the mean of the products in NumPy."""

import numpy as np
import pytest
import tensorflow_federated as tff

from tests.learning.conftest import LABELS, SIZES, TEXTS, begin, cohort
from tff_nlp import errors
from tff_nlp.aggregation import factor_products
from tff_nlp.aggregation.compression.coded_mean import CodedMeanFactory
from tff_nlp.aggregation.compression.coding import Coding
from tff_nlp.aggregation.compression.rounding import Rounding
from tff_nlp.execution import worker
from tff_nlp.learning.algorithms import fed_avg, fed_prox, scaffold
from tff_nlp.learning.client_work import LocalWork
from tff_nlp.learning.optimizers import ClientOptimizer, ServerOptimizer
from tff_nlp.models import classifier, encoders
from tff_nlp.models.adapters import adapter, lora, names
from tff_nlp.tasks import classification

LOCAL = LocalWork(ClientOptimizer("adamw", 3e-2), weighting="examples")
EXAMPLES = np.array([10, 7, 4, 13])  # of the clients of `cohort`
SHARES = EXAMPLES / EXAMPLES.sum()
RANK, ALPHA = 2, 16.0


def adapted(aggregation):
    encoder = encoders.random(TEXTS, vocabulary_size=150, dropout=0.0, **SIZES)
    options = lora.Lora(
        rank=RANK,
        alpha=ALPHA,
        matrices=("query", "attention_output", "feedforward_in"),
        freezes_a=aggregation == names.FFA,
        core=aggregation == names.FEDSB,
    )
    chosen = adapter.Adapter(names.LORA, low_rank=options)
    return classifier.build(encoder, LABELS, trainable="adapter", adapter=chosen)


def aggregator_of(model, aggregation):
    if aggregation not in names.BY_PRODUCTS:
        return None
    pairs = [(factors.a, factors.b) for factors in model.factors]
    return factor_products.FactorMeanFactory(
        aggregation, pairs, starts_anew=aggregation == names.FLORA
    )


def effective(model, weights):
    """Returns every matrix W + (alpha / rank) A B of a model."""
    values = dict(zip(model.trainable_names, weights.trainable, strict=True))
    values |= dict(zip(model.frozen_names, weights.non_trainable, strict=True))
    found = {}
    for name in values:
        if not name.endswith("/lora_b"):
            continue
        place = name.removesuffix("/lora_b")
        (kernel,) = (n for n in values if n.startswith(place) and n.endswith("/kernel"))
        parts = [values.get(f"{place}/{part}") for part in ("lora_a", "lora_core", "lora_b")]
        first, *others = (part for part in parts if part is not None)
        for other in others:
            first = np.tensordot(first, other, 1)
        found[place] = values[kernel] + ALPHA / RANK * first
    assert len(found) == 3
    return found


# FEDSA is tested in algorithms/test_fed_sa.py.
@pytest.mark.thorough
@pytest.mark.parametrize(
    "aggregation",
    [
        names.FEDIT,
        pytest.param(names.FFA, marks=pytest.mark.slow),
        pytest.param(names.FEDSB, marks=pytest.mark.slow),
        names.FEDEX,
        names.FLORA,
    ],
)
def test_the_mean_of_the_products(aggregation):
    model = adapted(aggregation)
    data = cohort(model)
    process, state = begin(model, LOCAL, aggregator=aggregator_of(model, aggregation))
    alone, of_one = begin(model, LOCAL)
    worst, drawn = 0.0, []
    for _ in range(2 if aggregation in names.BY_PRODUCTS else 1):
        before = process.get_model_weights(state)
        of_one = alone.set_model_weights(of_one, before)
        ends = [
            effective(model, alone.get_model_weights(alone.next(of_one, [client]).state))
            for client in data
        ]
        state = process.next(state, data).state
        after = process.get_model_weights(state)
        drawn.append(after.trainable)
        for place, matrix in effective(model, after).items():
            mean = np.tensordot(SHARES, np.stack([end[place] for end in ends]), 1)
            assert np.abs(matrix - effective(model, before)[place]).max() > 1e-3
            worst = max(worst, float(np.abs(matrix - mean).max()))
    if aggregation == names.FEDIT:
        assert worst > 1e-3  # The mean of A times the mean of B is another matrix.
    else:
        assert worst < 1e-5
    if aggregation == names.FLORA:
        for factors in model.factors:
            first, second = drawn[0][factors.a], drawn[1][factors.a]
            assert not np.any(drawn[1][factors.b])
            assert 1e-3 < np.abs(first - second).max() <= 2 * SIZES["width"] ** -0.5


@pytest.mark.slow
def test_the_same_in_tffs_worker():
    aggregation = names.FLORA
    model = adapted(aggregation)
    results = []
    for context in (None, worker.worker_context()):
        process, state = begin(model, LOCAL, aggregator=aggregator_of(model, aggregation))
        if context is None:
            output = process.next(state, cohort(model))
        else:
            with tff.framework.get_context_stack().install(context):
                output = process.next(state, cohort(model))
        results.append(effective(model, process.get_model_weights(output.state)))
    for place, matrix in results[0].items():
        np.testing.assert_allclose(matrix, results[1][place], atol=1e-5)


def test_the_server_takes_whole_steps():
    model = adapted(names.FEDEX)
    with pytest.raises(errors.UserError, match="server takes whole steps"):
        begin(
            model,
            LOCAL,
            aggregator=aggregator_of(model, names.FEDEX),
            server_optimizer=ServerOptimizer("adam", 1e-2),
        )


def test_scaffold_adds_up_updates_only():
    model = adapted(names.FLORA)
    with pytest.raises(errors.UserError, match="scaffold adds up updates.*lora_aggregation=ffa"):
        scaffold.scaffold(
            classification.classification(model),
            population=4,
            aggregator=aggregator_of(model, names.FLORA),
        )


@pytest.mark.slow
def test_the_proximal_term_goes_with_it():
    model = adapted(names.FEDEX)
    process, state = begin(
        model, LOCAL, algorithm=fed_prox.fed_prox, aggregator=aggregator_of(model, names.FEDEX)
    )
    metrics = process.next(state, cohort(model)).metrics
    assert metrics["client_work"]["train"]["num_examples"] == EXAMPLES.sum()


@pytest.mark.slow
def test_factors_in_eight_bits():
    model = adapted(names.FEDIT)
    process, state = begin(
        model,
        LOCAL,
        algorithm=fed_avg.fed_avg,
        aggregator=CodedMeanFactory(Coding(Rounding(8), 1)),
    )
    state = process.next(state, cohort(model)).state
    assert np.isfinite(process.get_model_weights(state).trainable[0]).all()
