"""Scores of a classifier on a test set and over clients."""

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np
import sklearn.metrics

from tff_nlp.tasks import prediction

# What metrics.csv has of each evaluation set, and of its clients.
_COLUMNS = ("accuracy", "macro_f1", "loss")
_CLIENTS = ("mean", "worst_decile", "standard_deviation")


@dataclasses.dataclass(frozen=True, eq=False)
class EvaluationSet:
    """Labelled examples to score a model on.

    Attributes:
      name: "test", "clients" or "held_out": the key of its scores in result.json.
      labels: int32[examples], the true labels.
      batches: Gives the examples anew at every call, as int32[batch, length] padded token ids and
        int64[batch] positions in `labels`.
      clients: int64[examples], the number of the client that holds each example, or None.
      domains: Domain of each example, where scores by domain are wanted, or None.
    """

    name: str
    labels: np.ndarray
    batches: prediction.Batches
    clients: np.ndarray | None = None
    domains: Sequence[str] | None = None

    def __post_init__(self) -> None:
        if not len(self.labels):
            raise ValueError(f"{self.name}: no examples to score on")

    def __len__(self) -> int:
        return len(self.labels)

    def columns(self) -> list[str]:
        """Returns the names of the set's columns in metrics.csv."""
        names = [f"{self.name}_{name}" for name in _COLUMNS]
        if self.clients is not None:
            names += [f"{self.name}_{name}_accuracy" for name in _CLIENTS]
        return names


@dataclasses.dataclass(frozen=True)
class Scores:
    """How well a model does on an evaluation set.

    Attributes:
      examples: Number of examples.
      accuracy: Share of right predictions.
      macro_f1: Unweighted mean of F1 over the labels that are present or predicted. A label that
        is neither, such as one whose only example trains, says nothing about the model.
      loss: Mean cross-entropy in nats.
      majority_accuracy: Accuracy of always predicting the set's most frequent label: the best that
        a model can do without reading the texts.
      predicted_labels: How many different labels were predicted.
      confusion: Row i, column j: examples of label i that were predicted as j.
      clients: Scores over clients, or None where the set has no clients.
      domains: Scores by domain, or None where the set has no domains.
    """

    examples: int
    accuracy: float
    macro_f1: float
    loss: float
    majority_accuracy: float
    predicted_labels: int
    confusion: tuple[tuple[int, ...], ...]
    clients: "ClientScores | None" = None
    domains: "Mapping[str, DomainScores] | None" = None

    def columns(self, name: str) -> Mapping[str, float]:
        """Returns the numbers of `EvaluationSet.columns`, for the set of this name."""
        row = {f"{name}_{column}": getattr(self, column) for column in _COLUMNS}
        if self.clients is not None:
            row |= {f"{name}_{n}_accuracy": getattr(self.clients, n) for n in _CLIENTS}
        return row

    def warning(self) -> str | None:
        """Returns a plain sentence if the model has not learned to tell labels apart."""
        if self.predicted_labels == 1:
            return "the model predicts one single label for every text"
        if self.accuracy <= self.majority_accuracy:
            return (
                f"accuracy {self.accuracy:.4f} is no better than always predicting the most "
                f"frequent label, {self.majority_accuracy:.4f}"
            )
        return None


@dataclasses.dataclass(frozen=True)
class ClientScores:
    """Accuracy per client, summed up.

    Attributes:
      clients: Number of clients that have examples in the set.
      mean: Unweighted mean of the clients' accuracies.
      worst_decile: Mean accuracy of the worst tenth of the clients, one client at least.
      standard_deviation: Of the clients' accuracies.
    """

    clients: int
    mean: float
    worst_decile: float
    standard_deviation: float


@dataclasses.dataclass(frozen=True)
class DomainScores:
    """How well a model does on the examples of one domain.

    Attributes:
      examples: Number of examples.
      accuracy: Share of right predictions.
      majority_accuracy: Accuracy of always predicting the domain's most frequent label.
    """

    examples: int
    accuracy: float
    majority_accuracy: float


def score(evaluation_set: EvaluationSet, predict: prediction.Predict, num_labels: int) -> Scores:
    """Scores a model (arguments as for `prediction.predict_all`)."""
    logits = prediction.predict_all(evaluation_set, predict, num_labels)
    scores = score_logits(logits, evaluation_set.labels, evaluation_set.clients)
    if evaluation_set.domains is None:
        return scores
    right = logits.argmax(axis=1) == evaluation_set.labels
    by_domain = score_domains(right, evaluation_set.labels, evaluation_set.domains)
    return dataclasses.replace(scores, domains=by_domain)


def score_logits(logits: np.ndarray, labels: np.ndarray, clients: np.ndarray | None) -> Scores:
    """Scores float32[examples, labels] logits against int32[examples] labels."""
    names = np.arange(logits.shape[1])
    predicted = logits.argmax(axis=1)
    shifted = logits.astype(np.float64) - logits.max(axis=1, keepdims=True)
    log_sums = np.log(np.exp(shifted).sum(axis=1))
    losses = log_sums - shifted[np.arange(len(labels)), labels]
    right = predicted == labels
    return Scores(
        examples=len(labels),
        accuracy=float(right.mean()),
        macro_f1=float(
            sklearn.metrics.f1_score(labels, predicted, average="macro", zero_division=0)
        ),
        loss=float(losses.mean()),
        majority_accuracy=float(np.bincount(labels).max() / len(labels)),
        predicted_labels=len(np.unique(predicted)),
        confusion=tuple(
            tuple(int(n) for n in row)
            for row in sklearn.metrics.confusion_matrix(labels, predicted, labels=names)
        ),
        clients=None if clients is None else score_clients(right, clients),
    )


def score_domains(
    right: np.ndarray, labels: np.ndarray, domains: Sequence[str]
) -> dict[str, DomainScores]:
    """Returns the scores of each domain, sorted by name.

    Args:
      right: bool[examples], whether the prediction was right.
      labels: int32[examples], the true labels.
      domains: Domain of each example.
    """
    of_example = np.array(domains)
    found = {}
    for domain in sorted(set(domains)):
        rows = of_example == domain
        majority = np.bincount(labels[rows]).max() / rows.sum()
        found[domain] = DomainScores(int(rows.sum()), float(right[rows].mean()), float(majority))
    return found


def score_clients(right: np.ndarray, clients: np.ndarray) -> ClientScores:
    """Sums up per-client accuracies.

    Args:
      right: bool[examples], whether the prediction was right.
      clients: int64[examples], each example's client.
    """
    _, positions, counts = np.unique(clients, return_inverse=True, return_counts=True)
    accuracies = np.sort(np.bincount(positions, weights=right) / counts)
    worst = max(1, len(accuracies) // 10)
    return ClientScores(
        clients=len(accuracies),
        mean=float(accuracies.mean()),
        worst_decile=float(accuracies[:worst].mean()),
        standard_deviation=float(accuracies.std()),
    )
