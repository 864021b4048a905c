"""Scores of a classifier on a test set and over clients."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import sklearn.metrics

from tff_nlp.tasks import client_scores, prediction

# The columns of metrics.csv for each evaluation set, and for its clients.
_COLUMNS = ("accuracy", "macro_f1", "loss")
_CLIENTS = ("mean", "worst_decile", "standard_deviation")


def _beside() -> np.ndarray:
    """Returns a field with a value for each example, which is not a score."""
    return dataclasses.field(
        default_factory=lambda: np.zeros(0, np.int64), compare=False, repr=False
    )


@dataclasses.dataclass(frozen=True, eq=False)
class EvaluationSet:
    """Labelled examples to score a model on.

    Attributes:
      name: "test", "clients" or "held_out": key of the scores in result.json.
      labels: True labels, int32[examples].
      batches: Function that returns the batches of the examples: int32[batch, length] padded token
        ids, and int64[batch] positions in `labels`.
      clients: Number of the client that holds each example, int64[examples], or None.
      domains: Domain of each example, for scores by domain, or None.
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
        """Returns the names of this set's columns in metrics.csv."""
        names = [f"{self.name}_{name}" for name in _COLUMNS]
        if self.clients is not None:
            names += [f"{self.name}_{name}_accuracy" for name in _CLIENTS]
        return names


@dataclasses.dataclass(frozen=True)
class Scores:
    """How well a model does on an evaluation set.

    Attributes:
      examples: Number of examples.
      accuracy: Fraction of right predictions.
      macro_f1: Unweighted mean of F1 over the labels that are present or predicted. Other labels
        are left out. For example, all examples of a rare label may be in the training set.
      loss: Mean cross-entropy in nats.
      majority_accuracy: Accuracy of always predicting the set's most frequent label. A model that
        does not read the texts cannot do better.
      predicted_labels: Number of different labels that were predicted.
      confusion: Confusion matrix. Row i, column j is the number of examples of label i that were
        predicted as j.
      clients: Scores over clients, or None if the set has no clients.
      domains: Domain -> scores, or None if the set has no domains.
      labels: True labels, int[examples].
      predicted: Predicted labels, int[examples].
      shares: Probability of the predicted label, float64[examples].
    """

    examples: int
    accuracy: float
    macro_f1: float
    loss: float
    majority_accuracy: float
    predicted_labels: int
    confusion: tuple[tuple[int, ...], ...]
    clients: client_scores.ClientScores | None = None
    domains: "Mapping[str, DomainScores] | None" = None
    labels: np.ndarray = _beside()
    predicted: np.ndarray = _beside()
    shares: np.ndarray = _beside()

    def columns(self, name: str) -> Mapping[str, float]:
        """Returns the values of `EvaluationSet.columns` for the set with this name."""
        row = {f"{name}_{column}": getattr(self, column) for column in _COLUMNS}
        if self.clients is not None:
            row |= {f"{name}_{n}_accuracy": getattr(self.clients, n) for n in _CLIENTS}
        return row

    @property
    def baseline(self) -> float:
        """Accuracy of always predicting the most frequent label."""
        return self.majority_accuracy

    def line(self) -> str:
        """Returns the scores as one line of text."""
        return (
            f"accuracy {self.accuracy:.4f}, macro F1 {self.macro_f1:.4f}; always the most "
            f"frequent label: {self.majority_accuracy:.4f} ({self.examples:,} examples)"
        )

    def to_json(self) -> dict[str, Any]:
        """Returns the scores as in result.json."""
        values: dict[str, Any] = {
            "accuracy": self.accuracy,
            "macro_f1": self.macro_f1,
            "loss": self.loss,
            "majority_accuracy": self.majority_accuracy,
            "examples": self.examples,
            "confusion": [list(row) for row in self.confusion],
            "warning": self.warning(),
        }
        if self.clients is not None:
            values["over_clients"] = dataclasses.asdict(self.clients)
        if self.domains is not None:
            values["domains"] = {n: dataclasses.asdict(found) for n, found in self.domains.items()}
        return values

    def warning(self) -> str | None:
        """Returns a warning if the model is no better than one constant label, else None."""
        if self.predicted_labels == 1:
            return "the model predicts one single label for every text"
        if self.accuracy <= self.majority_accuracy:
            return (
                f"accuracy {self.accuracy:.4f} is no better than always predicting the most "
                f"frequent label, {self.majority_accuracy:.4f}"
            )
        return None


@dataclasses.dataclass(frozen=True)
class DomainScores:
    """How well a model does on the examples of one domain.

    Attributes:
      examples: Number of examples.
      accuracy: Fraction of right predictions.
      majority_accuracy: Accuracy of always predicting the domain's most frequent label.
    """

    examples: int
    accuracy: float
    majority_accuracy: float


def score(evaluation_set: EvaluationSet, predict: prediction.Predict, num_labels: int) -> Scores:
    """Scores a model on an evaluation set.

    Args:
      evaluation_set: The evaluation set.
      predict: Function int32[batch, length] token ids -> float32[batch, labels] logits.
      num_labels: Number of labels.
    """
    logits = prediction.predict_all(evaluation_set, predict, num_labels)
    scores = score_logits(logits, evaluation_set.labels, evaluation_set.clients)
    if evaluation_set.domains is None:
        return scores
    right = logits.argmax(axis=1) == evaluation_set.labels
    by_domain = score_domains(right, evaluation_set.labels, evaluation_set.domains)
    return dataclasses.replace(scores, domains=by_domain)


def score_logits(logits: np.ndarray, labels: np.ndarray, clients: np.ndarray | None) -> Scores:
    """Scores logits against the true labels.

    Args:
      logits: float32[examples, labels].
      labels: int32[examples].
      clients: Number of each example's client, int64[examples], or None.
    """
    names = np.arange(logits.shape[1])
    predicted = logits.argmax(axis=1)
    shifted = logits.astype(np.float64) - logits.max(axis=1, keepdims=True)
    log_sums = np.log(np.exp(shifted).sum(axis=1))
    # The shifted logit of the predicted label is 0.
    shares = np.exp(-log_sums)
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
        labels=labels,
        predicted=predicted,
        shares=shares,
    )


def score_domains(
    right: np.ndarray, labels: np.ndarray, domains: Sequence[str]
) -> dict[str, DomainScores]:
    """Returns the scores of each domain, sorted by name.

    Args:
      right: Whether each prediction was right, bool[examples].
      labels: True labels, int32[examples].
      domains: Domain of each example.
    """
    of_example = np.array(domains)
    found = {}
    for domain in sorted(set(domains)):
        rows = of_example == domain
        majority = np.bincount(labels[rows]).max() / rows.sum()
        found[domain] = DomainScores(int(rows.sum()), float(right[rows].mean()), float(majority))
    return found


def score_clients(right: np.ndarray, clients: np.ndarray) -> client_scores.ClientScores:
    """Summarizes the accuracies of clients.

    Args:
      right: Whether each prediction was right, bool[examples].
      clients: Number of each example's client, int64[examples].
    """
    sums, counts = client_scores.sums_by_client(right, clients)
    return client_scores.over_clients(sums / counts)
