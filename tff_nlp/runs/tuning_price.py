"""What a search costs in privacy, and what it leaves without a guarantee."""

import dataclasses
import json
import math
import pathlib
from collections.abc import Sequence
from typing import Any

from tff_nlp import errors
from tff_nlp.clients.partition import Partition
from tff_nlp.privacy import names, selection
from tff_nlp.program import run_directory
from tff_nlp.runs import checks, conduct, configs, privacy_plan, search_space
from tff_nlp.runs.configs import tuning

# Options that cannot change the epsilon of a training are in these groups, or are listed.
_FREE_GROUPS = ("model", "client_training", "federated")
_FREE = ("clipping_norm", "clipping_learning_rate", "target_quantile")
RESULT, DRAWN = "tuning.json", "drawn.json"
_NO_PRICE = "the discrete noise of `dp`=distributed has no known price of a search"


@dataclasses.dataclass(frozen=True)
class Price:
    """The privacy of a search.

    Attributes:
      paid: Epsilon of one training and of the best of all; None without a guarantee.
      unit: The protected unit, "client" or "example".
      why_none: Why there is no guarantee, marked texts; empty with a guarantee.
      uncovered: What else has no guarantee, a marked text.
    """

    paid: selection.SelectionPrice | None
    unit: str
    why_none: tuple[str, ...]
    uncovered: str

    def lines(self) -> list[str]:
        """Returns sentences for the user, as marked texts."""
        if self.paid is None:
            return [f"no guarantee for the search: {why}" for why in self.why_none]
        return [
            f"one training has epsilon {self.paid.one:.4g} (rdp); the best of a random number of "
            f"them, {self.paid.mean:g} on average, has epsilon {self.paid.best:.4g} (rdp) at delta "
            f"{self.paid.delta:.3g} for one {self.unit}",
            "it holds for the best trial's model, if the search runs to its end and nothing of the "
            "other trials is published; one more training with its values, or another search, "
            "adds its own epsilon",
            f"no guarantee for {self.uncovered}: their scores decide without noise",
        ]

    def to_json(self) -> dict[str, Any]:
        """Returns the price for tuning.json."""
        paid = {} if self.paid is None else dataclasses.asdict(self.paid)
        spelled = [errors.with_flags(line) for line in self.lines()]
        return {"guaranteed": self.paid is not None, "unit": self.unit, **paid, "lines": spelled}


def objective_of(run: configs.FederatedRun, config: configs.TuningConfig) -> str:
    """Returns the set whose score decides.

    Raises:
      UserError: If there are no such texts.
    """
    name = config.objective
    if name == tuning.AUTO:
        by_clients = run.privacy.dp != names.NONE and run.clients.held_out_fraction > 0
        name = tuning.HELD_OUT if by_clients else tuning.VALIDATION
    run = privacy_plan.resolve(run)
    if name == tuning.HELD_OUT and not run.clients.held_out_fraction:
        why = "must be above 0: the texts of these clients decide"
        checks.refuse("held_out_fraction", run.clients.held_out_fraction, why)
    if name == tuning.VALIDATION and not run.clients.client_validation_fraction:
        why = "must be above 0, for example 0.1: these texts decide, and never the test texts"
        checks.refuse("client_validation_fraction", run.clients.client_validation_fraction, why)
    return name


def check(
    run: configs.FederatedRun,
    config: configs.TuningConfig,
    dimensions: Sequence[search_space.Dimension],
    train: Partition,
) -> Price | None:
    """Returns the price of a search; None without differential privacy.

    Args:
      run: The configuration that all trials share.
      config: The search.
      dimensions: What it varies.
      train: The clients that train.

    Raises:
      UserError: If trials would have different epsilons, or a setting is refused.
    """
    if run.privacy.dp == names.NONE:
        return None
    if run.tracking.trackers:
        why = "would receive every trial, and nothing of the other trials may be published"
        checks.refuse("trackers", run.tracking.trackers, why)
    plan = _plan(run, train)
    example_level = run.privacy.dp == names.EXAMPLE_LEVEL
    unit = "example" if example_level else "client"
    for dimension in dimensions:
        if dimension.group not in _FREE_GROUPS and dimension.name not in _FREE:
            _refuse(dimension.name)
    violations = dict.fromkeys(plan.guarantee.violations)
    for values in search_space.corners(dimensions):
        corner = _plan(search_space.applied(run, values), train)
        if corner.events != plan.events:
            _refuse(next(iter(values)))
        violations |= dict.fromkeys(corner.guarantee.violations)
    objective = objective_of(run, config)
    why_none = list(violations)
    if run.privacy.dp == names.DISTRIBUTED:
        why_none.append(_NO_PRICE)
    if objective == tuning.VALIDATION and not example_level:
        why_none.append(
            "the validation texts of the protected clients decide without noise; take "
            "`held_out_fraction`, so that the texts of other clients decide"
        )
    paid = selection.price(plan.events, config.trials, plan.guarantee.delta, plan.adjacency)
    if not math.isfinite(paid.best):
        why_none.append("epsilon is infinite")
    uncovered = {
        tuning.HELD_OUT: "the clients that never train",
        tuning.VALIDATION: "the validation texts",
    }[objective]
    return Price(None if why_none else paid, unit, tuple(why_none), uncovered)


def _plan(run: configs.FederatedRun, train: Partition) -> privacy_plan.PrivacyPlan:
    resolved = privacy_plan.resolve(run)
    return privacy_plan.plan(resolved, train, conduct.check(resolved))


def _refuse(name: str) -> None:
    why = "changes the epsilon of a training, and all trainings of a private search have the same"
    checks.refuse("search", name, why)


def of_trial(folder: pathlib.Path) -> dict[str, Any]:
    """Returns what the statement of a published run also says if it is a trial of a search.

    Args:
      folder: Folder of the run.

    Raises:
      UserError: If it is a trial of a private search that may not be published.
    """
    search = folder.resolve().parent.parent
    if not (search / run_directory.PRIVATE / DRAWN).exists():
        return {}
    where = errors.setting("run", folder)
    try:
        found = json.loads((search / RESULT).read_text(encoding="utf-8"))
        price, best = found["privacy"], found["best"]["folder"]
    except (OSError, ValueError, KeyError) as error:
        raise errors.UserError(f"{where}: is a trial of a search that has not ended") from error
    if best != folder.resolve().name:
        raise errors.UserError(
            f"{where}: is a trial of a private search, and only the best one, {best}, may be "
            "published"
        )
    return {"guaranteed": price["guaranteed"], "line": " ".join(price["lines"]), "search": price}
