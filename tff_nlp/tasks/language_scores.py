"""Scores of a language model: perplexity and next-token accuracy, weighted by tokens."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np

from tff_nlp.models import next_token
from tff_nlp.tasks import client_scores, prediction

# The columns of metrics.csv for each evaluation set, and for its clients.
_COLUMNS = ("perplexity", "accuracy", "loss")
_CLIENTS = ("mean", "worst_decile", "standard_deviation")


@dataclasses.dataclass(frozen=True, eq=False)
class TextSet:
    """Texts to score a language model on.

    Attributes:
      name: "test", "validation", "clients" or "held_out": key of the scores in result.json.
      examples: Number of texts.
      batches: Function that returns the batches of the texts, see `prediction.Batches`.
      baseline: Perplexity of a unigram model of the training texts.
      clients: Number of the client that holds each text, int64[examples], or None.
    """

    name: str
    examples: int
    batches: prediction.Batches
    baseline: float
    clients: np.ndarray | None = None

    def __len__(self) -> int:
        return self.examples

    def columns(self) -> list[str]:
        """Returns the names of this set's columns in metrics.csv."""
        names = [f"{self.name}_{column}" for column in _COLUMNS]
        if self.clients is not None:
            names += [f"{self.name}_{column}_perplexity" for column in _CLIENTS]
        return names


@dataclasses.dataclass(frozen=True)
class LanguageScores:
    """How well a model predicts the tokens of an evaluation set.

    Attributes:
      examples: Number of texts.
      tokens: Number of tokens that were predicted.
      loss: Mean cross-entropy per token, in nats.
      perplexity: exp(loss).
      accuracy: Fraction of tokens for which the most probable prediction was right.
      baseline: Perplexity of a unigram model of the training texts.
      clients: Summary of the clients' perplexities, or None if the set has no clients.
      text_losses: Mean cross-entropy per token of each text in nats, float64[examples].
    """

    examples: int
    tokens: int
    loss: float
    perplexity: float
    accuracy: float
    baseline: float
    clients: client_scores.ClientScores | None = None
    text_losses: np.ndarray = dataclasses.field(
        default_factory=lambda: np.zeros(0), compare=False, repr=False
    )

    def columns(self, name: str) -> Mapping[str, float]:
        """Returns the values of `TextSet.columns` for the set with this name."""
        row = {f"{name}_{column}": getattr(self, column) for column in _COLUMNS}
        if self.clients is not None:
            row |= {f"{name}_{n}_perplexity": getattr(self.clients, n) for n in _CLIENTS}
        return row

    def line(self) -> str:
        """Returns the scores as one line of text."""
        return (
            f"perplexity {self.perplexity:.2f}, next token right {self.accuracy:.4f}; guessing by "
            f"frequency: perplexity {self.baseline:.2f} ({self.examples:,} texts, {self.tokens:,} "
            "tokens)"
        )

    def to_json(self) -> dict[str, Any]:
        """Returns the scores as in result.json."""
        values: dict[str, Any] = {
            "perplexity": self.perplexity,
            "accuracy": self.accuracy,
            "loss": self.loss,
            "unigram_perplexity": self.baseline,
            "examples": self.examples,
            "tokens": self.tokens,
            "warning": self.warning(),
        }
        if self.clients is not None:
            values["over_clients"] = dataclasses.asdict(self.clients)
        return values

    def warning(self) -> str | None:
        """Returns a warning if the model is no better than a unigram model, else None."""
        if self.perplexity < self.baseline:
            return None
        return (
            f"perplexity {self.perplexity:.1f} is no better than guessing each token by its "
            f"frequency in the training texts, {self.baseline:.1f}"
        )


def score(examples: TextSet, found: np.ndarray) -> LanguageScores:
    """Returns the scores of a set.

    Args:
      examples: The set.
      found: float[examples, 3]. The three numbers of each text are the sum of its tokens'
        cross-entropies in nats, the number of these tokens, and the number of right predictions.
    """
    losses, tokens, right = found.astype(np.float64).T
    total, count = float(losses.sum()), float(tokens.sum())
    by_client = None
    if examples.clients is not None:
        client_losses, _ = client_scores.sums_by_client(losses, examples.clients)
        client_tokens, _ = client_scores.sums_by_client(tokens, examples.clients)
        read = client_tokens > 0
        perplexities = np.exp(client_losses[read] / client_tokens[read])
        by_client = client_scores.over_clients(perplexities, higher_is_better=False)
    return LanguageScores(
        examples=len(examples),
        tokens=int(count),
        loss=total / max(count, 1.0),
        perplexity=next_token.perplexity(total, count),
        accuracy=float(right.sum() / max(count, 1.0)),
        baseline=examples.baseline,
        clients=by_client,
        text_losses=losses / np.maximum(tokens, 1.0),
    )
