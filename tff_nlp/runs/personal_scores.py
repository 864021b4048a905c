"""Scores of clients with models of their own, beside those of the final model."""

import csv
import dataclasses
import io
import pathlib
from typing import TYPE_CHECKING, Any

import numpy as np

from tff_nlp import durable_files
from tff_nlp.tasks import client_scores

if TYPE_CHECKING:  # It needs TensorFlow.
    from tff_nlp.tasks.task import Report


@dataclasses.dataclass(frozen=True)
class ClientScore:
    """The scores of a client on its own test examples.

    Attributes:
      client: Id of the client.
      examples: Number of its test examples.
      took_part: Whether it took part in a round; None if that is not known.
      steps: Number of local steps from the final model to its own; None for a model that it keeps.
      before: Headline score of the final model.
      after: Headline score of its own model.
    """

    client: str
    examples: int
    took_part: bool | None
    steps: int | None
    before: float
    after: float


@dataclasses.dataclass(frozen=True)
class PersonalScores:
    """The scores of clients before and after they got models of their own.

    Attributes:
      how: "fine_tune" or "own_model".
      report: The report of the task, with the name of the headline score.
      clients: The clients, at least one.
    """

    how: str
    report: "Report"
    clients: tuple[ClientScore, ...]

    @property
    def before(self) -> client_scores.ClientScores:
        """Summary of the scores of the final model."""
        return self._over_clients([client.before for client in self.clients])

    @property
    def after(self) -> client_scores.ClientScores:
        """Summary of the scores of the clients' own models."""
        return self._over_clients([client.after for client in self.clients])

    @property
    def harmed(self) -> float:
        """Share of the clients with an own model that is worse than the final model."""
        sign = 1.0 if self.report.higher_is_better else -1.0
        worse = [sign * (client.after - client.before) < 0 for client in self.clients]
        return sum(worse) / len(worse)

    @property
    def never_sampled(self) -> int | None:
        """Number of clients that took part in no round; None if that is not known."""
        if any(client.took_part is None for client in self.clients):
            return None
        return sum(not client.took_part for client in self.clients)

    def to_json(self) -> dict[str, Any]:
        """Returns the summary as in result.json."""
        return {
            "how": self.how,
            "clients": len(self.clients),
            "never_sampled": self.never_sampled,
            "before": _described(self.before),
            "after": _described(self.after),
            "harmed": self.harmed,
        }

    def line(self) -> str:
        """Returns the summary as one line of text."""
        before, after = self.before, self.after
        never = f"; {self.never_sampled} never took part" if self.never_sampled else ""
        return (
            f"{self.how}: mean {self.report.headline} {before.mean:.4f} -> {after.mean:.4f}, worst "
            f"tenth {before.worst_decile:.4f} -> {after.worst_decile:.4f}, standard deviation "
            f"{before.standard_deviation:.4f} -> {after.standard_deviation:.4f}; "
            f"{self.harmed:.0%} of {len(self.clients)} clients are worse off{never}"
        )

    def write(self, path: pathlib.Path) -> None:
        """Writes a CSV file with a row per client. Only the owner may read it.

        Raises:
          WriteError: If the file cannot be written.
        """
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(field.name for field in dataclasses.fields(ClientScore))
        writer.writerows(dataclasses.astuple(client) for client in self.clients)
        durable_files.replace_text(path, text.getvalue(), private=True)

    def _over_clients(self, scores: list[float]) -> client_scores.ClientScores:
        return client_scores.over_clients(
            np.array(scores, np.float64), higher_is_better=self.report.higher_is_better
        )


def _described(scores: client_scores.ClientScores) -> dict[str, float]:
    values = dataclasses.asdict(scores)
    return {name: value for name, value in values.items() if name != "clients"}
