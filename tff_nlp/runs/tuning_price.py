"""What a search costs in privacy, and what it leaves without a guarantee."""

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

from tff_nlp import errors
from tff_nlp.clients.partition import Partition
from tff_nlp.privacy import names, selection
from tff_nlp.runs import checks, conduct, configs, privacy_plan, search_space
from tff_nlp.runs.configs import tuning

# Options that cannot change the epsilon of a training are in these groups, or are listed.
_FREE_GROUPS = ("model", "client_training", "federated")
_FREE = ("clipping_norm", "clipping_learning_rate", "target_quantile")
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
            f"one training has epsilon {self.paid.one:.4g}; the best of a random number of them, "
            f"{self.paid.mean:g} on average, has epsilon {self.paid.best:.4g} (rdp) at delta "
            f"{self.paid.delta:.3g} for one {self.unit}",
            "it holds if the search runs to its end, and nothing of the other trials is published",
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
    plan = _plan(run, train)
    example_level = run.privacy.dp == names.EXAMPLE_LEVEL
    unit = "example" if example_level else "client"
    for dimension in dimensions:
        if dimension.group not in _FREE_GROUPS and dimension.name not in _FREE:
            _refuse(dimension.name)
    for values in search_space.corners(dimensions):
        if _plan(search_space.applied(run, values), train).event != plan.event:
            _refuse(next(iter(values)))
    objective = objective_of(run, config)
    why_none = list(plan.guarantee.violations)
    if run.privacy.dp == names.DISTRIBUTED:
        why_none.append(_NO_PRICE)
    if objective == tuning.VALIDATION and not example_level:
        why_none.append(
            "the validation texts of the protected clients decide without noise; take "
            "`held_out_fraction`, so that the texts of other clients decide"
        )
    paid = selection.price(plan.event, config.trials, plan.guarantee.delta, plan.adjacency)
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
