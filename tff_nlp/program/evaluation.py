"""Scores of a classifier on a test set and over clients."""

import collections
import concurrent.futures
import dataclasses
import os
from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np
import sklearn.metrics

Batches = Callable[[], Iterable[tuple[np.ndarray, np.ndarray]]]
Predict = Callable[[np.ndarray], np.ndarray]


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
    batches: Batches
    clients: np.ndarray | None = None
    domains: Sequence[str] | None = None

    def __post_init__(self) -> None:
        if not len(self.labels):
            raise ValueError(f"{self.name}: no examples to score on")

    def __len__(self) -> int:
        return len(self.labels)


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


def score(evaluation_set: EvaluationSet, predict: Predict, num_labels: int) -> Scores:
    """Scores a model (arguments as for `predict_all`)."""
    logits = predict_all(evaluation_set, predict, num_labels)
    scores = score_logits(logits, evaluation_set.labels, evaluation_set.clients)
    if evaluation_set.domains is None:
        return scores
    right = logits.argmax(axis=1) == evaluation_set.labels
    by_domain = score_domains(right, evaluation_set.labels, evaluation_set.domains)
    return dataclasses.replace(scores, domains=by_domain)


def predict_all(
    evaluation_set: EvaluationSet,
    predict: Predict,
    num_labels: int,
    done: Callable[[int], object] | None = None,
) -> np.ndarray:
    """Returns float32[examples, labels] logits, in the order of the set.

    Args:
      evaluation_set: What to predict.
      predict: int32[batch, length] token ids to float32[batch, labels] logits. It is called from
        several threads.
      num_labels: Number of labels.
      done: Is told of each batch, when it is over, how many examples it had.
    """
    logits = np.zeros([len(evaluation_set), num_labels], np.float32)

    def run(batch: tuple[np.ndarray, np.ndarray]) -> int:
        tokens, positions = batch
        logits[positions] = predict(tokens)
        return len(positions)

    def wait(future: concurrent.futures.Future) -> None:
        examples = future.result()
        if done is not None:
            done(examples)

    threads = os.cpu_count() or 1
    with concurrent.futures.ThreadPoolExecutor(threads) as pool:
        waiting: collections.deque[concurrent.futures.Future] = collections.deque()
        for batch in evaluation_set.batches():
            waiting.append(pool.submit(run, batch))
            if len(waiting) > 2 * threads:  # bounds what is held in memory
                wait(waiting.popleft())
        for future in waiting:
            wait(future)
    return logits


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
