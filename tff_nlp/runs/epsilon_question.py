"""Finds epsilon, noise, cohort size or rounds of a run from the others, before any training."""

import dataclasses
import json
from typing import Any

from tff_nlp.privacy import accounting, budget, dp_ftrl, names
from tff_nlp.runs import checks, reporter
from tff_nlp.runs.configs.epsilon import EpsilonConfig


def answer(config: EpsilonConfig) -> budget.Answer:
    """Finds the missing quantity, prints the answer and returns it.

    Raises:
      UserError: If delta is out of range, if the number of missing quantities is not one, or if no
        value keeps the target.
    """
    found = budget.answer(question(config))
    words = reporter.spelled(in_words(found))
    reporter.show([json.dumps(as_json(found), indent=2) if config.json else words])
    return found


def question(config: EpsilonConfig) -> budget.Question:
    """Returns the question that a config asks. Exactly one quantity is missing.

    Raises:
      UserError: If delta is out of range, or if the number of missing quantities is not one.
    """
    delta = accounting.default_delta(config.population) if config.delta is None else config.delta
    accounting.check_delta(delta, config.population, config.unit)
    _check_one_is_missing(config)
    return budget.Question(
        dp=config.dp,
        unit=config.unit,
        sampling=config.sampling,
        population=config.population,
        delta=delta,
        clients_per_round=config.clients_per_round,
        noise_multiplier=config.noise_multiplier,
        noise_ratio=config.noise_ratio,
        rounds=config.rounds,
        target_epsilon=config.target_epsilon,
        accountant=config.accountant,
        orders=config.order_grid(),
        participation=_participation(config),
        restart_every=config.restart_every,
    )


def _participation(config: EpsilonConfig) -> dp_ftrl.Participation | None:
    if config.max_participations is None or config.min_separation is None:
        return None
    return dp_ftrl.Participation(config.max_participations, config.min_separation)


def _check_one_is_missing(config: EpsilonConfig) -> None:
    values = {
        "noise_multiplier": (config.noise_multiplier, config.noise_ratio),
        "clients_per_round": (config.clients_per_round,),
        "rounds": (config.rounds,),
        "target_epsilon": (config.target_epsilon,),
    }
    if config.dp == names.TREE_AGGREGATION:
        # Its epsilon does not depend on the cohort. The cohort is only printed.
        if config.clients_per_round is None or config.noise_ratio is not None:
            checks.refuse(
                "dp",
                config.dp,
                "needs `clients_per_round`, and `noise_multiplier` or `rounds` or `target_epsilon`"
                " left out",
            )
        del values["clients_per_round"]
    missing = [name for name, given in values.items() if given == (None,) * len(given)]
    if not missing:
        known = ", ".join(f"`{name}`" for name in values)
        why = f"nothing is left to find; leave out one of {known}"
        checks.refuse("target_epsilon", config.target_epsilon, why)
    if len(missing) > 1:
        unknown = " or ".join(f"`{name}`" for name in missing)
        checks.refuse_missing(missing[0], f"too little is known, give {unknown}")


def as_json(found: budget.Answer) -> dict[str, Any]:
    """Returns an answer as values for JSON."""
    values = found.stated.to_json()
    values["found"] = found.found
    if found.asked.target_epsilon is not None:
        values["target_epsilon"] = found.asked.target_epsilon
    if found.split is not None:
        values["noise_split"] = dataclasses.asdict(found.split)
    if found.asked.participation is not None:
        values.update(dataclasses.asdict(found.asked.participation))
        values["restart_every"] = found.asked.restart_every
        values["squared_sensitivity"] = found.squared_sensitivity
    return values


def in_words(found: budget.Answer) -> str:
    """Returns an answer as lines of marked text (`errors`)."""
    parts = [found.stated.in_words()]
    if found.split is not None:
        parts.append(
            f"noise split: {found.split.updates:.10g} on the updates,"
            f" {found.split.count_stddev:g} clients on the count of those not clipped"
        )
    if found.asked.participation is not None:
        bound, trees = found.asked.participation, found.asked.restart_every
        parts.append(
            f"participation: at most {bound.max_participations} times, at least"
            f" {bound.min_separation} rounds between; squared sensitivity"
            f" {found.squared_sensitivity} in"
            + (f" trees of {trees} rounds" if trees else " one tree")
        )
    if found.found != "epsilon":
        parts.append(_found_in_words(found))
    return "\n\n".join(parts)


def _found_in_words(found: budget.Answer) -> str:
    """Returns a sentence about the quantity that was missing."""
    value = found.stated.to_json()[found.found]
    smallest = found.found == "noise_multiplier" or (
        # With a fixed noise on the mean, a larger cohort has a smaller epsilon.
        found.found == "clients_per_round" and found.asked.noise_ratio is not None
    )
    limit = found.found == "rounds" and value == names.MOST_ROUNDS
    return (
        f"found: `{found.found}`={value:.10g}, the {'smallest' if smallest else 'largest'} that"
        f" keeps {found.asked.accountant} at {found.asked.target_epsilon:g} or below"
        + (" within the search's limit" if limit else "")
    )
