"""Plans a privacy budget before any training: which cohorts, noises and rounds it allows."""

import dataclasses
import json
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import tqdm

from tff_nlp.privacy import accounting, frontier
from tff_nlp.runs import checks, reporter, user_folders
from tff_nlp.runs.configs.budget_plan import BudgetPlanConfig


@dataclasses.dataclass(frozen=True)
class BudgetPlan:
    """What a privacy budget allows.

    Attributes:
      budget: The budget.
      points: A point for each cohort size and number of rounds.
      signal_to_noise: Signal-to-noise ratio that each round must reach; None for no such wish.
      serving: The point with the smallest cohort that reaches this ratio, by number of rounds; None
        where no cohort reaches it. Empty without a wish.
    """

    budget: frontier.Budget
    points: Sequence[frontier.Point]
    signal_to_noise: float | None
    serving: Mapping[int, frontier.Point | None]


def plan(config: BudgetPlanConfig) -> BudgetPlan:
    """Plans a budget, prints the plan, draws it into `config.output` and returns it.

    Raises:
      UserError: If delta is out of range, if no noise keeps the target, or if the picture cannot
        have such a path.
      WriteError: If the picture cannot be written.
    """
    budget, output = _budget(config), _output(config)
    rounds = config.round_counts()
    cohorts = config.cohort_sizes() or frontier.usual_cohorts(budget.population)
    # None: show the bar only on a terminal.
    with tqdm.tqdm(total=len(cohorts) * len(rounds), desc="planning", disable=None) as bar:
        points = frontier.plan(budget, cohorts, rounds, bar.update)
    wish = config.signal_to_noise
    serving = {
        count: frontier.smallest_that_serves(budget, wish, count)
        for count in rounds
        if wish is not None
    }
    planned = BudgetPlan(budget, points, wish, serving)
    reporter.show([json.dumps(as_json(planned), indent=2)] if config.json else in_words(planned))
    if output is not None:
        from tff_nlp.runs import budget_picture  # Loads matplotlib.

        budget_picture.draw(points, wish, "\n".join(_heading(budget)), output)
    return planned


def _budget(config: BudgetPlanConfig) -> frontier.Budget:
    population = config.population
    delta = accounting.default_delta(population) if config.delta is None else config.delta
    accounting.check_delta(delta, population)
    return frontier.Budget(
        population=population,
        target_epsilon=config.target_epsilon,
        delta=delta,
        accountant=config.accountant,
        parameters=config.trainable_parameters,
        update_norm=config.update_norm,
    )


def _output(config: BudgetPlanConfig) -> pathlib.Path | None:
    """Returns the path of the picture, or None. It is checked before the planning."""
    if not config.output:
        return None
    path = pathlib.Path(config.output)
    if path.is_dir():
        checks.refuse("output", path, "is a folder; name a file")
    if not path.parent.is_dir():
        checks.refuse("output", path, f"there is no folder {path.parent}")
    user_folders.check_writable("output", path.parent)
    return path


def as_json(planned: BudgetPlan) -> dict[str, Any]:
    """Returns a plan as values for JSON."""
    return {
        **dataclasses.asdict(planned.budget),
        "points": [dataclasses.asdict(point) for point in planned.points],
        "serving_the_wish": {
            str(count): None if point is None else dataclasses.asdict(point)
            for count, point in planned.serving.items()
        },
    }


def in_words(planned: BudgetPlan) -> list[str]:
    """Returns a plan as lines: a heading, a table, and the smallest cohorts for the wish."""
    lines = [
        *_heading(planned.budget),
        "",
        *_table(planned.points),
        "",
        "* no other point has as much signal in its run for as little client work",
    ]
    if planned.serving:
        lines += [
            "",
            f"smallest cohorts with a signal-to-noise of {planned.signal_to_noise:g} or more in"
            " each round:",
            *_table([point for point in planned.serving.values() if point is not None]),
        ]
    for count, point in planned.serving.items():
        if point is None:
            lines.append(
                f"  {count:,} rounds: impossible, even with all {planned.budget.population:,}"
                " clients in each round"
            )
    return lines


def _heading(budget: frontier.Budget) -> list[str]:
    """Returns the lines about what all points of a budget have in common."""
    return [
        f"epsilon {budget.target_epsilon:g} ({budget.accountant}) at delta {budget.delta:.3g} for"
        f" one client of {budget.population:,}; neighbours: add or remove one client; cohorts are"
        " Poisson samples",
        f"signal: a mean update of {budget.update_norm:g} x the clipping norm against the noise on"
        f" {budget.parameters:,} parameters",
    ]


def _table(points: Sequence[frontier.Point]) -> list[str]:
    """Returns the lines of a table of points. The first two are its header."""
    lines = [
        "   clients  rounds     noise   noise on       signal/noise     rounds of",
        "  a round         multiplier   the mean    a round  whole run  one client",
    ]
    for point in points:
        mark = "*" if point.best else " "
        lines.append(
            f"{mark} {point.clients_per_round:8,} {point.rounds:7,} {point.noise_multiplier:9.4f}"
            f" {point.noise_on_mean:10.3g} {point.signal_to_noise:10.3g}"
            f" {point.signal_to_noise_of_run:10.3g} {point.participations:11.3g}"
        )
    return lines
