"""Logits and distillation of a small BERT, whose token embedding trains on the texts' rows only."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf

from tests.learning import conftest as berts
from tff_nlp.learning import distillation
from tff_nlp.learning.optimizers import ClientOptimizer
from tff_nlp.tasks import classification

POSITIONS = (np.array([3, 0]), np.array([4, 1, 2]))


@pytest.fixture(scope="module")
def texts(model):
    x, _ = berts.client_rows(model, 0, 5)
    return x, distillation.PublicTexts([x[p] for p in POSITIONS], POSITIONS)


def weights(model):
    return ([tf.constant(w) for w in part] for part in model.initial_weights())


def test_logits_have_the_order_of_the_texts(model, texts):
    x, public = texts
    trainable, frozen = weights(model)
    found = distillation.logits(classification.classification(model), trainable, frozen, public)
    for row, logits in zip(x, found, strict=True):
        ids = row[np.newaxis, row != model.tokenizer.pad_id]
        alone = model.logits(trainable, frozen, ids, tf.ones_like(ids, tf.bool), seed=None)
        np.testing.assert_allclose(logits, alone[0], atol=1e-5)


@pytest.mark.slow
def test_the_table_is_trained_as_if_it_were_dense(model, texts):
    _, public = texts
    trainable, frozen = weights(model)
    targets = tf.one_hot([0, 1, 2, 0, 1], berts.LABELS)
    task = classification.classification(model)
    learning = distillation.Distillation(ClientOptimizer("sgd", 0.1), 2)

    @tf.function
    def distil(table):
        return distillation.distil(
            dataclasses.replace(task, table=table),
            learning,
            trainable,
            frozen,
            public,
            targets,
            round_seed=tf.constant([1, 2]),
        )

    (sparse, loss), (dense, same) = distil(task.table), distil(None)
    assert float(loss) == pytest.approx(float(same), abs=1e-6)
    moved = [float(tf.reduce_max(tf.abs(a - b))) for a, b in zip(sparse, trainable, strict=True)]
    assert moved[task.table.weight] > 1e-4
    for one, other in zip(sparse, dense, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-6)
