"""The rule on what MLflow and W&B receive of a run.

Without differential privacy they receive all numbers of metrics.csv and result.json, and the
configuration.

With differential privacy, epsilon covers the weights after each round and what is computed from
them. Numbers that clients measure on their own texts have no noise, and a person who reads them
learns about single clients what epsilon promises to hide. The records of trackers are made to be
shared, so a private run gives them only:

- of a row: the round, scores on the test texts, epsilon, the clipping norm, and the norm of the
  server's update, which is computed after the noise. Not the training losses and sums, not the
  number of clients in the cohort, not the fraction of clipped clients or the signal-to-noise ratio,
  not the scores on texts of training or held-out clients, and not the time on the clients' devices.
  The duration of a round stays out too, because it depends on the clients' texts.
- of the configuration: what `publication.public` publishes. It has no seeds, no paths and no
  digests of texts.
- of the result: the facts and the privacy statement that `publication` publishes, the scores on the
  test texts without those of single domains, and the bytes, which depend on types only.
- as a name: the beginning of the record's random id. The name of a folder in runs/ has a digest of
  the texts.

These are lists of what is allowed. A new column or key stays out until somebody adds it here.
"""

from collections.abc import Mapping
from typing import Any

from tff_nlp.runs import publication

# Columns of metrics.csv, and beginnings of their names.
_COLUMNS = ("round", "clipping_norm", "server_update_norm")
_GROUPS = ("test_", "epsilon_")
# Parts of result.json that are in the record already, or that only a person can read.
_ELSEWHERE = ("config", "summary")


def name_of(folder: str, identity: str, *, private: bool) -> str:
    """Returns the name of a run in trackers.

    Args:
      folder: Name of the run's folder.
      identity: Random id of the run's folder.
      private: Whether the run has differential privacy.
    """
    return identity[:8] if private else folder


def of_row(row: Mapping[str, float], *, private: bool) -> dict[str, float]:
    """Returns the values of a row that trackers receive.

    Args:
      row: Values by column of metrics.csv.
      private: Whether the run has differential privacy.
    """
    return {
        column: value
        for column, value in row.items()
        if not private or column in _COLUMNS or column.startswith(_GROUPS)
    }


def of_config(config: Mapping[str, Any], *, private: bool) -> dict[str, Any]:
    """Returns the part of the recorded configuration that trackers receive.

    Args:
      config: Values by option, as in config.json.
      private: Whether the run has differential privacy.
    """
    return dict(publication.public(config)) if private else dict(config)


def of_result(result: Mapping[str, Any], *, private: bool) -> dict[str, Any]:
    """Returns the part of the result that trackers receive.

    Args:
      result: The content of result.json.
      private: Whether the run has differential privacy.
    """
    if not private:
        return {name: value for name, value in result.items() if name not in _ELSEWHERE}
    scores = {n: value for n, value in result["test"].items() if not isinstance(value, Mapping)}
    return {
        **publication.facts(result),
        "test": scores,
        "bytes_per_client": result["bytes_per_client"],
        "privacy": publication.statement(result),
    }
