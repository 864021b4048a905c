"""One run of a comparison: it trains in a folder of its own, or is refused, or diverges."""

import json
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

from tff_nlp import errors
from tff_nlp.program import run_directory, trackers
from tff_nlp.runs import central_run, conduct, configs, federated_run, privacy_plan, reporter

# The scores by which runs are compared. A language model has both.
HEADLINES = ("perplexity", "accuracy")


def train(
    cell: configs.FederatedRun | configs.CentralRun,
    watchers: Sequence[trackers.Tracker] = (),
    *,
    keeps_model: bool = True,
) -> tuple[dict[str, Any], Mapping[str, Any]]:
    """Trains, or continues a run that was stopped. A finished run is not trained again.

    Args:
      cell: The configuration, with an `output_dir`.
      watchers: What receives each round. An error of theirs ends the training.
      keeps_model: Whether the trained model is written. Without it, a run has only its figures.

    Returns:
      "folder" and "score", the headline of the test scores; or "refused" or "diverged", with the
      reason. Then the content of the run's result.json; empty for a run without a score.

    Raises:
      UserError: If a file or a row is wrong.
      RunError: If training fails for another reason than divergence.
    """
    refused = "" if isinstance(cell, configs.CentralRun) else _refusal(cell)
    if refused:
        reporter.say("refused", [refused])
        return {"refused": errors.with_flags(refused)}, {}
    try:
        if isinstance(cell, configs.CentralRun):
            central_run.run(cell, keeps_model=keeps_model)
        else:
            federated_run.run(cell, watchers=watchers, keeps_model=keeps_model)
    except errors.DivergedError as error:
        reporter.say("diverged", [error.marked])
        return {"diverged": error.with_flags()}, {}
    return _finished(cell)


def _finished(
    cell: configs.FederatedRun | configs.CentralRun,
) -> tuple[dict[str, Any], Mapping[str, Any]]:
    """Returns the entry and the result of a finished run."""
    folder = pathlib.Path(cell.place.output_dir)
    result = json.loads((folder / run_directory.RESULT).read_text())
    return {"score": result["test"][headline(result)], "folder": folder.name}, result


def headline(result: Mapping[str, Any]) -> str:
    """Returns the name of the test score by which runs are compared.

    Args:
      result: The content of a run's result.json.
    """
    return next(name for name in HEADLINES if name in result["test"])


def outcome(cell: Mapping[str, Any]) -> str:
    """Returns the score as text, or the word that says why there is none."""
    words = [word for word in ("refused", "diverged") if word in cell]
    return words[0] if words else f"{cell['score']:.3f}"


def _refusal(cell: configs.FederatedRun) -> str:
    """Returns why a run is refused, a marked text; empty if it can train."""
    try:
        conduct.check(privacy_plan.resolve(cell))
    except errors.UserError as error:
        return error.marked
    return ""
