"""Clients with factors of different ranks, against models that are built with these ranks."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_federated as tff

from tests.learning.conftest import LABELS, SIZES, TEXTS, begin, cohort
from tests.learning.test_factor_rounds import LOCAL, SHARES, aggregator_of, effective
from tff_nlp import errors
from tff_nlp.execution import worker
from tff_nlp.learning import client_input, composition, mixed_ranks
from tff_nlp.learning.algorithms import fed_avg
from tff_nlp.models import classifier, encoders
from tff_nlp.models.adapters import adapter, lora, names
from tff_nlp.tasks import classification

LARGEST = 2
RANKS = (1, 2, 2, 1)  # of the clients of `cohort`


def adapted(rank):
    encoder = encoders.random(TEXTS, vocabulary_size=150, dropout=0.0, **SIZES)
    matrices = ("query", "attention_output", "feedforward_in")
    # The factor of the product is alpha / rank = 8, as `effective` has it.
    options = lora.Lora(rank=rank, alpha=8.0 * rank, matrices=matrices)
    chosen = adapter.Adapter(names.LORA, low_rank=options)
    return classifier.build(encoder, LABELS, trainable="adapter", adapter=chosen)


def narrowed(model, weights, rank):
    """Returns the weights of a model of a rank, cut from those of a model of a larger rank."""
    trainable = list(weights.trainable)
    for places in model.factors:
        trainable[places.a] = trainable[places.a][..., :rank]
        trainable[places.b] = trainable[places.b][:rank]
    return tff.learning.models.ModelWeights(tuple(trainable), tuple(weights.non_trainable))


def trained_alone(model, rank, clients):
    """Returns the matrices of each client that trains a model of this rank alone."""
    own = adapted(rank)
    process, state = begin(own, LOCAL)
    trainable, frozen = classification.classification(model).initial_weights()
    first = tff.learning.models.ModelWeights(tuple(trainable), tuple(frozen))
    state = process.set_model_weights(state, narrowed(model, first, rank))
    ends = (process.next(state, [data]).state for data in clients)
    return [effective(own, process.get_model_weights(end)) for end in ends]


def one_round(model, ranks=RANKS):
    mixed = mixed_ranks.MixedRanks(tuple(model.factors), LARGEST)
    local = dataclasses.replace(LOCAL, ranks=mixed)
    process, state = begin(model, local, aggregator=aggregator_of(model, names.FLORA))
    clients = [
        client_input.with_values(data, rank=tf.constant(rank) if rank else client_input.RANK_SPEC)
        for data, rank in zip(cohort(model), ranks, strict=True)
    ]
    return process.get_model_weights(process.next(state, clients).state)


@pytest.mark.thorough
def test_the_mean_of_products_of_different_ranks():
    model = adapted(LARGEST)
    data = cohort(model)
    ends = [None] * len(data)
    for rank in set(RANKS):
        own = [client for client, of_client in enumerate(RANKS) if of_client == rank]
        trained = trained_alone(model, rank, [data[client] for client in own])
        for client, end in zip(own, trained, strict=True):
            ends[client] = end
    for place, matrix in effective(model, one_round(model)).items():
        mean = np.tensordot(SHARES, np.stack([end[place] for end in ends]), 1)
        np.testing.assert_allclose(matrix, mean, atol=1e-5)


@pytest.mark.slow
def test_a_client_without_a_rank_has_the_largest():
    model = adapted(LARGEST)
    one, other = one_round(model, (1, None, None, 1)), one_round(model)
    parts = zip(
        one.trainable + one.non_trainable, other.trainable + other.non_trainable, strict=True
    )
    for mine, same in parts:
        np.testing.assert_array_equal(mine, same)


@pytest.mark.slow
def test_the_same_in_tffs_worker():
    model = adapted(LARGEST)
    expected = effective(model, one_round(model))
    with tff.framework.get_context_stack().install(worker.worker_context()):
        found = effective(model, one_round(model))
    for place, matrix in expected.items():
        np.testing.assert_allclose(found[place], matrix, atol=1e-5)


@pytest.mark.parametrize("aggregation", [names.FEDIT, names.FEDEX])
def test_only_where_b_starts_from_zero(aggregation):
    model = adapted(LARGEST)
    mixed = mixed_ranks.MixedRanks(tuple(model.factors), LARGEST)
    local = dataclasses.replace(LOCAL, ranks=mixed)
    task = classification.classification(model)
    with pytest.raises(errors.UserError, match="lose a part of B.*lora_aggregation=flora"):
        fed_avg.fed_avg(task, local, aggregator=aggregator_of(model, aggregation))
    with pytest.raises(errors.UserError, match="lose a part of B"):
        composition.check(task, local, None)
