"""The privacy statement of a run, in words and as JSON."""

import dataclasses
import math
from typing import Any

import dp_accounting as dpa

from tff_nlp import errors
from tff_nlp.privacy import accounting, events
from tff_nlp.privacy.accounting import Epsilons

ADJACENCY_WORDS = {
    accounting.ADD_OR_REMOVE: "add or remove one {unit}",
    accounting.REPLACE_ONE: "replace one {unit} by another",
    accounting.ZERO_OUT: "replace all updates of one {unit} by zeros",
}

_SAMPLING_WORDS = {
    "poisson": "each {unit} takes part in a round with probability {probability:.6g},"
    " independently",
    "fixed_size": "exactly {cohort:,.10g} {unit}s per round, drawn uniformly without replacement",
    "bounded": "a schedule that bounds how often a {unit} takes part, not secret",
    "none": "not secret",
}


@dataclasses.dataclass(frozen=True)
class PrivacyStatement:
    """Epsilon with everything that is needed to interpret it.

    Attributes:
      mechanism: Name of the mechanism, as in `dp`.
      unit: The protected unit: "client", or "example" within a client.
      population: Number of units.
      clients_per_round: Expected cohort size (or batch size).
      sampling: "poisson", "fixed_size", "bounded" (DP-FTRL's schedule) or "none".
      noise_multiplier: Standard deviation of the noise on the sum over the clipping norm. None if
        it changed between rounds.
      rounds: Number of rounds, or of steps if the unit is an example.
      epsilons: Epsilons with this sampling.
      unamplified: Epsilons without amplification by sampling, for the same neighbouring relation:
        against an adversary that knows the cohorts, for a client in every round. For a bounded
        schedule they are equal to `epsilons`.
      accountant: Accountant of the run. The epsilon that was shown during the run is also by it.
      violations: Reasons why the run does not meet the accountants' assumptions, as marked texts
        (`errors`). With any reason, there is no guarantee.
      by_silo: For example-level privacy: name of each client and epsilon of its examples.
      noise_of_clients: Whether clients add the noise. Then there is also a guarantee against the
        server. It is `unamplified`, because the server knows the cohorts.
    """

    mechanism: str
    unit: str
    population: int
    clients_per_round: float
    sampling: str
    noise_multiplier: float | None
    rounds: int
    epsilons: Epsilons
    unamplified: Epsilons
    accountant: str = "rdp"
    violations: tuple[str, ...] = ()
    by_silo: tuple[tuple[str, float], ...] = ()
    noise_of_clients: bool = False

    @property
    def delta(self) -> float:
        """The probability with which epsilon may fail."""
        return self.epsilons.delta

    @property
    def adjacency(self) -> str:
        """The neighbouring relation in words."""
        return ADJACENCY_WORDS[self.epsilons.adjacency].format(unit=self.unit)

    @property
    def guaranteed(self) -> bool:
        """Whether there is a guarantee: there is noise in every round, and no violation."""
        return not self.violations and math.isfinite(self.epsilons.rdp)

    def line(self) -> str:
        """Returns the guarantee in one line, by the run's accountant and by the tightest one."""
        if self.violations:
            return "no guarantee: " + "; ".join(map(errors.without_marks, self.violations))
        if not self.guaranteed:
            return "no guarantee: epsilon is infinite without noise"
        server = ""
        if self.noise_of_clients:
            server = (
                "; against the server, which sees sums and knows who takes part, "
                f"{self._named(self.unamplified)}"
            )
        return (
            f"epsilon {self._named(self.epsilons)} at delta {self.delta:.3g} for one {self.unit} of"
            f" {self.population:,} ({self.adjacency}), {self.rounds:,}"
            f" {'rounds' if self.unit == 'client' else 'steps'}{server}"
        )

    def _named(self, epsilons: Epsilons) -> str:
        named = dict.fromkeys((self.accountant, epsilons.tightest))
        return ", ".join(
            f"{_number(epsilons.by(accountant))} ({accountant})"
            for accountant in named
            if math.isfinite(epsilons.by(accountant))
        )

    def in_words(self) -> str:
        """Returns the whole statement as lines of text."""
        noise = "varied" if self.noise_multiplier is None else f"{self.noise_multiplier:.6g}"
        sampling = _SAMPLING_WORDS[self.sampling].format(
            unit=self.unit,
            cohort=self.clients_per_round,
            probability=self.clients_per_round / self.population,
        )
        lines = [
            f"mechanism    {self.mechanism}, noise multiplier {noise} (noise on the sum over the"
            " clipping norm)",
            f"unit         one {self.unit} of {self.population:,}; neighbours: {self.adjacency}",
            f"sampling     {sampling}",
            f"rounds       {self.rounds:,} with {self.clients_per_round:,.10g} {self.unit}s"
            " expected in each",
            f"delta        {self.delta:.4g}",
        ]
        if self.violations:
            return "\n".join(
                [
                    *lines,
                    *(f"no guarantee {errors.without_marks(reason)}" for reason in self.violations),
                ]
            )
        return "\n".join([*lines, "", *self._table()])

    def _table(self) -> list[str]:
        rows = [("epsilon", "with this sampling", "without amplification", "computed on")]
        grids = {
            "rdp_classic": f"{_grid(self.epsilons.rdp_classic_orders)}, best at"
            f" {self.epsilons.rdp_classic_order:g}",
            "rdp": f"{_grid(self.epsilons.rdp_orders)}, best at {self.epsilons.rdp_order:g}",
            "pld": self.epsilons.pld_reason
            or f"privacy losses in steps of {self.epsilons.pld_interval:.3g}",
        }
        for accountant, grid in grids.items():
            rows.append(
                (
                    accountant,
                    _number(getattr(self.epsilons, accountant)),
                    _number(getattr(self.unamplified, accountant)),
                    grid,
                )
            )
        widths = [max(len(row[column]) for row in rows) for column in range(3)]
        return [
            "  ".join(
                [*(cell.ljust(width) for cell, width in zip(row, widths, strict=False)), row[3]]
            )
            for row in rows
        ]

    def to_json(self) -> dict[str, Any]:
        """Returns the statement as JSON values. An epsilon of None means that there is no bound."""
        shown = self.epsilons
        return {
            "guaranteed": self.guaranteed,
            "violations": [errors.without_marks(reason) for reason in self.violations],
            "mechanism": self.mechanism,
            "unit": self.unit,
            "adjacency": self.adjacency,
            "sampling": self.sampling,
            "population": self.population,
            "clients_per_round": self.clients_per_round,
            "noise_multiplier": self.noise_multiplier,
            "rounds": self.rounds,
            "delta": self.delta,
            "accountant": self.accountant,
            **self._json_epsilons(shown),
            "rdp_classic_order": shown.rdp_classic_order,
            "rdp_classic_orders": _grid(shown.rdp_classic_orders),
            "rdp_order": shown.rdp_order,
            "rdp_orders": _grid(shown.rdp_orders),
            "pld_interval": shown.pld_interval,
            "pld_reason": shown.pld_reason or None,
            "unamplified": self._json_epsilons(self.unamplified),
            **self._json_silos(),
        }

    def _json_silos(self) -> dict[str, dict[str, float | None]]:
        if not self.by_silo:
            return {}
        hidden = bool(self.violations)
        shown = {n: None if hidden or math.isinf(e) else e for n, e in self.by_silo}
        return {"epsilon_by_client": shown}

    def _json_epsilons(self, epsilons: Epsilons) -> dict[str, float | None]:
        values = {name: getattr(epsilons, name) for name in accounting.ACCOUNTANTS}
        hidden = bool(self.violations)
        return {
            name: None if hidden or value is None or math.isinf(value) else value
            for name, value in values.items()
        }


def _number(epsilon: float | None) -> str:
    if epsilon is None:
        return "none"
    return "infinite" if math.isinf(epsilon) else f"{epsilon:.4f}"


def _grid(orders: tuple[float, ...]) -> str:
    """Returns an order grid in words, with ranges of equal steps: "orders 2..33 by 1"."""
    stretches: list[str] = []
    start = 0
    while start < len(orders):
        end = start + 1
        step = orders[end] - orders[start] if end < len(orders) else 0.0
        while end + 1 < len(orders) and math.isclose(orders[end + 1] - orders[end], step):
            end += 1
        if end - start >= 2 and end < len(orders):
            stretches.append(f"{orders[start]:g}..{orders[end]:g} by {step:g}")
            start = end + 1
        else:
            stretches.append(f"{orders[start]:g}")
            start += 1
    return "orders " + ", ".join(stretches)


def without_amplification(event: dpa.DpEvent) -> dpa.DpEvent:
    """Returns an event without sampling, as if a client could take part in every round."""
    return events.compose(
        dpa.SelfComposedDpEvent(events.unsampled(one), count)
        for one, count in events.rounds_of(event)
    )


def _sampling_of(event: dpa.DpEvent) -> str:
    kinds = {type(one) for one, _ in events.rounds_of(event)}
    if dpa.SampledWithoutReplacementDpEvent in kinds:
        return "fixed_size"
    return "poisson" if kinds == {dpa.PoissonSampledDpEvent} else "none"


def state(
    event: dpa.DpEvent,
    *,
    mechanism: str,
    population: int,
    clients_per_round: float,
    delta: float,
    unit: str = "client",
    accountant: str = "rdp",
    orders: tuple[float, ...] = accounting.FINE_ORDERS,
    classic_orders: tuple[float, ...] = accounting.INTEGER_ORDERS,
    violations: tuple[str, ...] = (),
    discrete: bool = False,
) -> PrivacyStatement:
    """Returns the statement of a run with sampled rounds.

    Args:
      event: Composition of the rounds, from `events.compose`.
      mechanism: Name of the mechanism, as in `dp`.
      population: Number of units.
      clients_per_round: Expected cohort size.
      delta: Probability with which epsilon may fail, above 0 and at most 1/population.
      unit: The protected unit.
      accountant: Accountant of the run.
      orders: The order grid of the improved conversion.
      classic_orders: The order grid of the classic conversion.
      violations: Reasons why the run does not meet the accountants' assumptions.
      discrete: Whether the noise is discrete. Its Renyi divergences are at most those of the
        Gaussian mechanism. For its privacy loss distributions this is not proven, so `pld` is None.

    Raises:
      UserError: If delta is not meaningful for the population.
    """
    accounting.check_delta(delta, population, unit)
    rounds = events.rounds_of(event)
    adjacency = accounting.adjacency_of(event)
    sampled = accounting.epsilons(event, delta, orders, classic_orders)
    plain = accounting.epsilons(
        without_amplification(event), delta, orders, classic_orders, adjacency
    )
    if discrete:
        sampled, plain = (
            dataclasses.replace(e, pld=None, pld_reason="not known for discrete noise")
            for e in (sampled, plain)
        )
    elif sampled.pld is None and adjacency is accounting.REPLACE_ONE:
        # The PLD accountant does not support fixed-size cohorts. The bound without amplification
        # also holds with it.
        sampled = dataclasses.replace(
            sampled,
            pld=plain.pld,
            pld_interval=plain.pld_interval,
            pld_reason=plain.pld_reason,
        )
    noises = {events.noise_multiplier_of(one) for one, _ in rounds}
    return PrivacyStatement(
        mechanism=mechanism,
        unit=unit,
        population=population,
        clients_per_round=clients_per_round,
        sampling=_sampling_of(event),
        noise_multiplier=noises.pop() if len(noises) == 1 else None,
        rounds=sum(count for _, count in rounds),
        epsilons=sampled,
        unamplified=plain,
        accountant=accountant,
        violations=violations,
        noise_of_clients=discrete,
    )


def state_bounded(
    event: dpa.DpEvent,
    *,
    mechanism: str,
    population: int,
    clients_per_round: float,
    noise_multiplier: float,
    rounds: int,
    delta: float,
    accountant: str = "rdp",
    orders: tuple[float, ...] = accounting.FINE_ORDERS,
    violations: tuple[str, ...] = (),
) -> PrivacyStatement:
    """Returns the statement of a run with a bound on the participation: DP-FTRL.

    Args:
      event: The whole run as one Gaussian mechanism, from `dp_ftrl.event_of`.
      mechanism: Name of the mechanism, as in `dp`.
      population: Number of clients.
      clients_per_round: Cohort size.
      noise_multiplier: Standard deviation of each node's noise over the clipping norm.
      rounds: Number of rounds.
      delta: Probability with which epsilon may fail, above 0 and at most 1/population.
      accountant: Accountant of the run.
      orders: The order grid of both conversions.
      violations: Reasons why the run does not meet the accountants' assumptions.

    Raises:
      UserError: If delta is not meaningful for the population.
    """
    accounting.check_delta(delta, population)
    found = accounting.epsilons(event, delta, orders, orders, accounting.ZERO_OUT)
    return PrivacyStatement(
        mechanism=mechanism,
        unit="client",
        population=population,
        clients_per_round=clients_per_round,
        sampling="bounded",
        noise_multiplier=noise_multiplier,
        rounds=rounds,
        epsilons=found,
        unamplified=found,
        accountant=accountant,
        violations=violations,
    )
