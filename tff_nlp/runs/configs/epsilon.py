"""The known quantities of a private run, for the search for the missing one."""

import dataclasses

from tff_nlp.privacy import names
from tff_nlp.runs import checks, options
from tff_nlp.runs.options import option

_MOST_ORDERS = _LARGEST_ORDER = 10_000


@dataclasses.dataclass(frozen=True)
class EpsilonConfig:
    """Known quantities of a private run."""

    # None is only the default of the flag: a config always has a population.
    population: int = option(None, "Number of clients that may be drawn.")
    clients_per_round: int | None = option(None, "Number of clients per round, or its expectation.")
    noise_multiplier: float | None = option(
        None, "Standard deviation of the noise on the sum, divided by the clipping norm."
    )
    noise_ratio: float | None = option(
        None,
        "Noise multiplier divided by the cohort size, which is the noise on the mean. It replaces "
        "`noise_multiplier`, to find the smallest cohort for a target epsilon.",
    )
    rounds: int | None = option(None, "Number of rounds.")
    delta: float | None = option(None, "Delta of the guarantee; empty: population^-1.1.")
    target_epsilon: float | None = option(None, "Maximum epsilon.")
    accountant: str = option(
        "rdp",
        "Accountant that computes the epsilon to compare with `target_epsilon`.",
        names.ACCOUNTANTS,
    )
    dp: str = option(names.GAUSSIAN, "Mechanism.", names.CENTRAL)
    sampling: str = option(
        "poisson",
        "How cohorts are drawn. poisson: each client independently. fixed_size: always the same "
        "number, without replacement; the accounting for this has a weaker bound.",
        ("poisson", "fixed_size"),
    )
    unit: str = option("client", "Unit of privacy.", ("client", "example"))
    orders: str = option(
        "",
        "Grid of orders for both Renyi accountants, for example 2..33 or 1.1..10.9:0.1,11..63,128; "
        "empty: a fine grid for rdp, and the integers 2..33 of McMahan et al. 2018 for "
        "rdp_classic.",
    )
    max_participations: int | None = option(
        None, "tree_aggregation: maximum number of rounds of a client."
    )
    min_separation: int | None = option(
        None, "tree_aggregation: minimum number of rounds between two rounds of a client."
    )
    restart_every: int | None = option(
        None, "tree_aggregation: number of rounds per tree; empty: one tree for all rounds."
    )
    json: bool = option(False, "Print JSON.")

    def __post_init__(self) -> None:
        options.check_choices(self)
        if self.population is None:
            checks.refuse_missing("population")
        checks.at_least(2, "population", self.population)
        cohort, rounds, ratio = self.clients_per_round, self.rounds, self.noise_ratio
        checks.at_least(1, "clients_per_round", cohort)
        if cohort is not None and cohort > self.population:
            why = f"larger than the population of {self.population:,}"
            checks.refuse("clients_per_round", cohort, why)
        checks.at_least(1, "rounds", rounds)
        if rounds is not None:
            most_rounds = names.MOST_ROUNDS
            checks.check(rounds <= most_rounds, "rounds", rounds, f"at most {most_rounds:,}")
        checks.noise("noise_multiplier", self.noise_multiplier)
        if ratio is not None:
            largest = names.MOST_NOISE / self.population
            checks.check(0 <= ratio <= largest, "noise_ratio", ratio, f"from 0 to {largest:g}")
            if self.noise_multiplier is not None:
                checks.refuse("noise_ratio", ratio, "replaces `noise_multiplier`, give one of them")
        if self.target_epsilon is not None:
            checks.above_zero("target_epsilon", self.target_epsilon)
        if self.dp == names.ADAPTIVE_CLIPPING and self.unit == "example":
            checks.refuse("unit", self.unit, "adaptive clipping here is for clients")
        self._check_tree()
        self.order_grid()

    def _check_tree(self) -> None:
        """Checks the options that only tree aggregation uses, and those that it cannot use."""
        bounds = ("max_participations", "min_separation")
        if self.dp != names.TREE_AGGREGATION:
            for name in (*bounds, "restart_every"):
                value = getattr(self, name)
                if value is not None:
                    checks.refuse(name, value, f"belongs to `dp`={names.TREE_AGGREGATION}")
            return
        for name in bounds:
            if getattr(self, name) is None:
                checks.refuse_missing(
                    name,
                    f"must be given with `dp`={self.dp}, because its epsilon depends on how often"
                    " the cohort sampler lets a client take part",
                )
        checks.at_least(1, "max_participations", self.max_participations)
        checks.at_least(0, "min_separation", self.min_separation)
        checks.at_least(1, "restart_every", self.restart_every)
        if self.unit != "client" or self.sampling != "poisson":
            checks.refuse("dp", self.dp, "is for clients and uses no sampling")

    def order_grid(self) -> tuple[float, ...] | None:
        """Returns the grid of orders; None for the default grids.

        Raises:
          UserError: If `orders` is not a list of numbers and ranges `from..to[:step]`, separated by
            commas, or if an order is not above 1 or is too large.
        """
        if not self.orders:
            return None
        grid = tuple(order for part in self.orders.split(",") for order in self._orders_of(part))
        if not grid or not all(1 < order <= _LARGEST_ORDER for order in grid):
            why = f"orders must be above 1, and at most {_LARGEST_ORDER:,}"
            checks.refuse("orders", self.orders, why)
        return grid

    def _orders_of(self, part: str) -> list[float]:
        ends, _, step = part.partition(":")
        first, dots, last = ends.partition("..")
        try:
            if not dots:
                return [float(part)]
            start, width = float(first), float(step or 1)
            count = round((float(last) - start) / width)
        except (ValueError, ZeroDivisionError, OverflowError):
            why = f"{part!r} is neither a number nor from..to[:step]"
            checks.refuse("orders", self.orders, why)
        if count > _MOST_ORDERS:
            checks.refuse("orders", self.orders, f"{part!r} is more than {_MOST_ORDERS} orders")
        return [round(start + index * width, 9) for index in range(count + 1)]
