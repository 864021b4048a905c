"""A privacy budget, and the cohorts and rounds to compare within it."""

import dataclasses

from tff_nlp.privacy import names
from tff_nlp.runs import checks, options
from tff_nlp.runs.options import option


@dataclasses.dataclass(frozen=True)
class BudgetPlanConfig:
    """Budget, and what to compare within it."""

    # None is only the default of these flags: a config always has both values.
    population: int = option(None, "Number of clients that may be drawn.")
    target_epsilon: float = option(None, "Maximum epsilon.")
    delta: float | None = option(None, "Delta of the guarantee; empty: population^-1.1.")
    clients_per_round: str = option(
        "",
        "Cohort sizes to compare; empty: 50, 100, 200, 500, ... up to half of the population.",
    )
    rounds: str = option("100,300,1000,3000", "Numbers of rounds to compare.")
    trainable_parameters: int = option(
        770,
        "Number of trainable parameters, which get noise; experiments/train.py prints it. The "
        "default is that of MiniLM's head for two labels.",
    )
    update_norm: float = option(
        1.0,
        "L2 norm of the mean of the clipped updates, divided by the clipping norm. The maximum is "
        "1. It is smaller if the updates of the clients have different directions.",
    )
    signal_to_noise: float | None = option(
        None, "Signal-to-noise ratio that each round must reach; empty: no search for it."
    )
    accountant: str = option(
        "rdp",
        "Accountant that computes the epsilon to compare with `target_epsilon`.",
        names.ACCOUNTANTS,
    )
    output: str = option("", "PNG file for the plot; empty: no plot.", path=True)
    json: bool = option(False, "Print JSON.")

    def __post_init__(self) -> None:
        options.check_choices(self)
        for name in ("population", "target_epsilon"):
            if getattr(self, name) is None:
                checks.refuse_missing(name)
        checks.at_least(2, "population", self.population)
        checks.above_zero("target_epsilon", self.target_epsilon)
        checks.at_least(1, "trainable_parameters", self.trainable_parameters)
        checks.check(
            0 < self.update_norm <= 1,
            "update_norm",
            self.update_norm,
            "above 0 and at most 1, clipped updates average to no more than the clipping norm",
        )
        if self.signal_to_noise is not None:
            checks.above_zero("signal_to_noise", self.signal_to_noise)
        self.round_counts()
        self.cohort_sizes()

    def round_counts(self) -> list[int]:
        """Returns the numbers of rounds, ascending.

        Raises:
          UserError: If one is not a whole number from 1 on.
        """
        return _whole_numbers("rounds", self.rounds)

    def cohort_sizes(self) -> list[int]:
        """Returns the cohort sizes, ascending. The list is empty if none are given.

        Raises:
          UserError: If one is not a whole number from 1 to the population.
        """
        if not self.clients_per_round:
            return []
        sizes = _whole_numbers("clients_per_round", self.clients_per_round)
        if sizes[-1] > self.population:
            why = f"{sizes[-1]} is larger than the population of {self.population:,}"
            checks.refuse("clients_per_round", self.clients_per_round, why)
        return sizes


def _whole_numbers(name: str, listed: str) -> list[int]:
    """Returns the positive integers of a list, ascending, without duplicates."""
    numbers = set()
    for word in listed.split(","):
        try:
            number = int(word)
        except ValueError:
            number = 0
        if number < 1:
            checks.refuse(name, listed, f"{word.strip()!r} is not a whole number from 1 on")
        numbers.add(number)
    return sorted(numbers)
