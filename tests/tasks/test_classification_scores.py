"""Scores, compared with scikit-learn, NumPy and small cases that are computed by hand."""

import re

import numpy as np
import pytest
import sklearn.metrics

from tff_nlp.tasks import classification_scores as evaluation


@pytest.fixture
def examples():
    generator = np.random.default_rng(7)
    labels = generator.integers(0, 4, 500).astype(np.int32)
    logits = generator.standard_normal((500, 4)).astype(np.float32)
    logits[np.arange(500), labels] += 1
    return logits, labels


def test_scores_are_those_of_scikit_learn(examples):
    logits, labels = examples
    scores = evaluation.score_logits(logits, labels, None)
    predicted = logits.argmax(axis=1)
    assert scores.accuracy == pytest.approx(sklearn.metrics.accuracy_score(labels, predicted))
    assert scores.macro_f1 == pytest.approx(
        sklearn.metrics.f1_score(labels, predicted, average="macro")
    )
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    assert scores.loss == pytest.approx(sklearn.metrics.log_loss(labels, probabilities), rel=1e-5)
    assert np.array_equal(scores.confusion, sklearn.metrics.confusion_matrix(labels, predicted))
    assert (scores.examples, scores.predicted_labels, scores.clients) == (500, 4, None)


def test_a_case_by_hand():
    # Predicted 0, 0, 1, 0 for the labels 0, 1, 1, 1; label 2 does not occur.
    logits = np.log([[0.6, 0.3, 0.1], [0.5, 0.25, 0.25], [0.2, 0.7, 0.1], [0.8, 0.1, 0.1]])
    scores = evaluation.score_logits(logits.astype(np.float32), np.array([0, 1, 1, 1]), None)
    assert scores.confusion == ((1, 0, 0), (2, 1, 0), (0, 0, 0))
    assert scores.accuracy == 0.5
    assert scores.majority_accuracy == 0.75
    # F1: 2/(2+0+2) = 1/2; 2/(2+2+0) = 1/2; the absent label does not count.
    assert scores.macro_f1 == pytest.approx(1 / 2)
    assert scores.loss == pytest.approx(-np.log([0.6, 0.25, 0.7, 0.1]).mean(), rel=1e-5)
    assert scores.predicted_labels == 2


def test_large_logits_do_not_overflow():
    logits = np.array([[1000.0, 0.0], [0.0, 1000.0]], np.float32)
    scores = evaluation.score_logits(logits, np.array([0, 0]), None)
    assert scores.loss == pytest.approx(500)


def test_domain_scores_by_hand():
    right = np.array([True, False, True, True, False])
    labels = np.array([0, 1, 1, 1, 0])
    found = evaluation.score_domains(right, labels, ["b", "a", "b", "b", "a"])
    assert list(found) == ["a", "b"]
    assert found["a"] == evaluation.DomainScores(2, 0.0, 0.5)
    assert found["b"] == evaluation.DomainScores(3, 1.0, pytest.approx(2 / 3))


def test_client_scores_by_hand():
    # Ten clients have four examples each, in mixed order. Client c has c right, up to 4.
    right = np.array([[example < client for example in range(4)] for client in range(10)])
    clients = np.repeat(np.arange(10) * 11, 4)
    order = np.random.default_rng(0).permutation(40)
    scores = evaluation.score_clients(right.reshape(-1)[order], clients[order])
    accuracies = np.minimum(np.arange(10), 4) / 4
    assert scores.clients == 10
    assert scores.mean == pytest.approx(accuracies.mean())
    assert scores.standard_deviation == pytest.approx(accuracies.std())
    assert scores.worst_decile == 0.0


@pytest.mark.parametrize(
    ("clients", "worst"),
    [(1, 0.0), (9, 0.0), (19, 0.0), (20, 0.5), (29, 0.5), (30, 2 / 3), (39, 2 / 3)],
)
def test_worst_decile_is_a_tenth_rounded_down_but_one_client(clients, worst):
    # One client has no right predictions, and all others have only right ones.
    right = np.arange(clients) > 0
    scores = evaluation.score_clients(right, np.arange(clients))
    assert scores.worst_decile == pytest.approx(worst)


def test_clients_have_equal_weights():
    right = np.array([True] * 99 + [False])
    scores = evaluation.score_clients(right, np.array([5] * 99 + [3]))
    assert (scores.mean, scores.clients) == (0.5, 2)


@pytest.mark.parametrize(
    ("predicted", "labels", "warning"),
    [
        ([1, 1, 1, 1], [1, 1, 1, 0], "one single label"),
        # All predictions are right, but there is only one label.
        ([1, 1], [1, 1], "one single label"),
        ([0, 1, 1, 1], [1, 1, 1, 0], "0.5000 is no better than .* 0.7500"),
        ([0, 1, 1, 1], [1, 0, 1, 1], "is no better"),
        ([0, 1, 1, 1], [0, 1, 1, 0], None),
    ],
)
def test_warning(predicted, labels, warning):
    logits = np.eye(2, dtype=np.float32)[predicted]
    found = evaluation.score_logits(logits, np.array(labels), None).warning()
    assert re.search(warning, found) if warning else found is None


def batches(sizes):
    """Returns batches of these sizes over shuffled positions. Token ids equal the position."""
    order = np.random.default_rng(3).permutation(sum(sizes))
    for rows in np.split(order, np.cumsum(sizes)[:-1]):
        yield np.repeat(rows[:, np.newaxis], 5, axis=1).astype(np.int32), rows


def test_score_puts_every_batch_in_its_place(examples):
    logits, labels = examples
    known = evaluation.EvaluationSet(
        "test", labels, lambda: batches([128, 128, 1, 43, 200]), np.arange(500) % 7
    )
    assert len(known) == 500
    scores = evaluation.score(known, lambda tokens: logits[tokens[:, 0]], 4)
    assert scores == evaluation.score_logits(logits, labels, np.arange(500) % 7)
    assert scores.clients is not None
    assert scores.clients.clients == 7


def test_score_holds_few_batches_and_raises_errors():
    drawn = []

    def endless():
        for number in range(10_000):
            drawn.append(number)
            yield np.zeros([1, 2], np.int32), np.array([number])

    def predict(tokens):
        raise RuntimeError("the model broke")

    known = evaluation.EvaluationSet("test", np.zeros(10_000, np.int32), endless)
    with pytest.raises(RuntimeError, match="the model broke"):
        evaluation.score(known, predict, 2)
    assert len(drawn) < 1000


def test_an_empty_set_is_refused():
    with pytest.raises(ValueError, match="test: no examples"):
        evaluation.EvaluationSet("test", np.zeros(0, np.int32), lambda: iter(()))
