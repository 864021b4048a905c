"""The contract: what a run does, compared with what its accountant assumes, before it trains."""

import dataclasses

from tff_nlp.privacy import guarantee

# What stands in place of every epsilon where others may know the noise.
REPEATABLE = "repeatable noise, for research only"
_UNACCOUNTED = {
    "scaffold": "what a client keeps depends on all rounds in which it took part",
    "mime_lite": "a client sends a gradient beside its update",
}


@dataclasses.dataclass(frozen=True)
class Conduct:
    """What a run does with its clients.

    Attributes:
      mechanism: One of `guarantee.CLIENT_LEVEL`, or `guarantee.EXAMPLE_LEVEL`.
      sampling: "poisson", "fixed" or "cyclic".
      replace_one: Whether neighbours are said to differ by replacing a client, instead of adding
        or removing one.
      weighting: "uniform" or "examples".
      max_failed_clients: How many clients may fail in a round, which then goes on without them.
      logit_adjustment: How much of its label frequencies a client adds to its logits.
    """

    mechanism: str
    sampling: str
    replace_one: bool
    weighting: str
    max_failed_clients: int
    logit_adjustment: float = 0.0


def violations(conduct: Conduct) -> tuple[str, ...]:
    """Returns a sentence for every way in which a run departs from its accountant's assumptions.

    Each begins with the flag, and says what to change. The denominator is not among them: every
    aggregator here divides by the expected cohort, or by a count of clients that is fixed.
    """
    found = [_sampling(conduct), weighting_violation(conduct.weighting), _dropping(conduct)]
    if conduct.mechanism == guarantee.EXAMPLE_LEVEL:
        found.append(labels_violation(conduct.logit_adjustment))
    return tuple(sentence for sentence in found if sentence)


def _sampling(conduct: Conduct) -> str | None:
    if conduct.mechanism == guarantee.EXAMPLE_LEVEL:
        return None  # the examples are sampled, whoever holds them
    wanted = guarantee.SAMPLINGS[conduct.mechanism]
    if conduct.sampling == guarantee.FIXED and guarantee.POISSON in wanted:
        if conduct.replace_one:
            return None
        return (
            "--sampling=fixed: the accountant assumes that each client takes part independently; "
            "take --sampling=poisson, or --adjacency=replace_one, whose accountant knows cohorts "
            "of a fixed size"
        )
    if conduct.sampling not in wanted:
        return (
            f"--sampling={conduct.sampling}: the accountant of --dp={conduct.mechanism} assumes "
            f"--sampling={wanted[0]}"
        )
    if conduct.sampling == guarantee.POISSON and conduct.replace_one:
        return (
            "--adjacency=replace_one: the accountant of --sampling=poisson is for neighbours that "
            "differ by adding or removing one client; take --adjacency=add_or_remove"
        )
    return None


def weighting_violation(weighting: str) -> str | None:
    """Returns why a weighting of clients voids an epsilon; None where it does not."""
    if weighting == "uniform":
        return None
    return (
        f"--weighting={weighting}: the accountant assumes that every client weighs the "
        "same, since clipping bounds an update and not its weight; take --weighting=uniform"
    )


def _dropping(conduct: Conduct) -> str | None:
    if conduct.mechanism != guarantee.DISTRIBUTED or not conduct.max_failed_clients:
        return None
    return (
        f"--max_failed_clients={conduct.max_failed_clients}: a client that fails takes its share "
        "of the noise with it; take 0"
    )


def algorithm_violation(name: str) -> str | None:
    """Returns why an algorithm goes with no epsilon; None where it does."""
    if name not in _UNACCOUNTED:
        return None
    return (
        f"--algorithm={name}: {_UNACCOUNTED[name]}, which no accountant here knows of; take "
        "--algorithm=fedavg"
    )


def labels_violation(logit_adjustment: float) -> str | None:
    """Returns why logit adjustment voids an epsilon of examples; None where there is none."""
    if not logit_adjustment:
        return None
    return (
        f"--logit_adjustment={logit_adjustment:g}: a client's label frequencies depend on "
        "all its examples, and change every gradient when one of them changes; take 0"
    )
