"""Example-level privacy: DP-SGD within clients, with an epsilon for the examples of each client.

A client is a silo, for example a hospital, and its examples are the patients. In each participation
a silo takes a number of steps, and each batch is a Poisson sample of its examples. The cohorts are
not secret, and the silos' data are disjoint. So the epsilon of a silo counts only its own steps,
and the epsilon of the run is the largest one.
"""

import dataclasses
import functools
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import dp_accounting as dpa

from tff_nlp import errors
from tff_nlp.privacy import accounting, calibration, events, mechanism_checks, statement
from tff_nlp.privacy.guarantee import EXAMPLE_LEVEL


@dataclasses.dataclass(frozen=True)
class Silo:
    """How a client samples its examples.

    Attributes:
      name: Id of the client.
      examples: Number of its examples.
      rate: Probability with which an example joins a batch.
      steps: Number of batches in a round.
    """

    name: str
    examples: int
    rate: float
    steps: int

    def __post_init__(self) -> None:
        if not (self.examples >= 1 and self.steps >= 1 and 0 < self.rate <= 1):
            raise errors.UserError(
                f"client {self.name}: {self.examples} examples, {self.steps} batches and a rate of "
                f"{self.rate:g} are not a valid sampling of examples"
            )


@dataclasses.dataclass(frozen=True)
class ExampleGuarantee:
    """The parameters of a run of DP-SGD within clients that its accounting needs.

    Attributes:
      silos: All clients that may take part, in the order of their positions.
      noise_multiplier: Standard deviation of the noise on the sum of a batch over the clipping
        norm of an example's gradient.
      delta: Probability with which epsilon may fail, above 0 and at most 1 / (number of examples of
        the largest silo).
      accountant: Accountant of the epsilon that is shown during the run and compared with a target.
      violations: Reasons why the run does not meet the accountant's assumptions, as marked texts
        (`errors`). Empty for a run with a guarantee.
    """

    silos: tuple[Silo, ...]
    noise_multiplier: float
    delta: float
    accountant: str = "rdp"
    violations: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not self.silos:
            raise errors.UserError(f"{errors.setting('dp', EXAMPLE_LEVEL)}: there are no clients")
        mechanism_checks.check_noise_multiplier(self.noise_multiplier)
        largest = max(silo.examples for silo in self.silos)
        accounting.check_delta(self.delta, largest, "example")
        calibration.check_accountant(self.accountant)

    def event_of(self, silo: Silo) -> dpa.DpEvent:
        """Returns the event of one participation for the examples of a silo."""
        return events.compose([_steps(silo.rate, silo.steps, self.noise_multiplier)])

    def record(self, cohort: Sequence[int]) -> dict[str, Any]:
        """Returns the events of a round, by silo, as JSON values.

        Args:
          cohort: Positions of the silos that took part.
        """
        silos = [self.silos[int(position)] for position in cohort]
        return {
            "clients": len(silos),
            "events": {silo.name: events.to_json(self.event_of(silo)) for silo in silos},
        }

    def epsilon_of(self, records: Sequence[Mapping[str, Any]]) -> float:
        """Returns the largest epsilon of a silo after some rounds.

        Args:
          records: Result of `record` for each round.
        """
        return self.largest_epsilon(Counter(name for r in records for name in r["events"]))

    def largest_epsilon(self, participations: Mapping[str, int]) -> float:
        """Returns the largest epsilon of a silo, by the run's accountant.

        Args:
          participations: Name of a silo -> number of rounds in which it takes part.
        """
        if not participations:
            return 0.0
        return max(
            _epsilon(self.accountant, self.delta, silo.rate, self.noise_multiplier, steps)
            for silo, steps in self._distinct(participations)
        )

    def events(self, participations: Mapping[str, int]) -> tuple[dpa.DpEvent, ...]:
        """Returns all steps as one event for each sampling rate, for the silo with the most steps.

        Args:
          participations: Name of a silo -> number of rounds in which it takes part.
        """
        return tuple(
            _steps(silo.rate, steps, self.noise_multiplier)
            for silo, steps in self._distinct(participations)
        )

    def with_noise_for(
        self, target_epsilon: float, participations: Mapping[str, int]
    ) -> "ExampleGuarantee":
        """Returns a copy with the smallest noise that keeps a target for every silo.

        Args:
          target_epsilon: Largest allowed epsilon.
          participations: Name of a silo -> number of rounds in which it takes part.

        Raises:
          UserError: If no noise keeps the target.
        """
        epsilon_of = calibration.epsilon_by(self.accountant, self.delta)
        noise = max(
            calibration.smallest_noise(
                functools.partial(_steps, silo.rate, steps), target_epsilon, epsilon_of
            )
            for silo, steps in self._distinct(participations)
        )
        return dataclasses.replace(self, noise_multiplier=noise)

    def statement_of(self, records: Sequence[Mapping[str, Any]]) -> statement.PrivacyStatement:
        """Returns the privacy statement of a run.

        It is for the silo with the largest epsilon, and also has the epsilon of all other silos.

        Args:
          records: Result of `record` for each round.
        """
        spent: dict[str, list[dpa.DpEvent]] = {}
        for record in records:
            for name, event in record["events"].items():
                spent.setdefault(name, []).append(events.from_json(event))
        composed = {name: events.compose(parts) for name, parts in spent.items()}
        epsilon_of = calibration.epsilon_by(self.accountant, self.delta)
        by_silo = {name: epsilon_of(event) for name, event in composed.items()}
        worst = max(by_silo, key=lambda name: by_silo[name])
        silo = next(s for s in self.silos if s.name == worst)
        stated = statement.state(
            composed[worst],
            mechanism=EXAMPLE_LEVEL,
            population=silo.examples,
            clients_per_round=silo.rate * silo.examples,
            delta=self.delta,
            unit="example",
            accountant=self.accountant,
            violations=self.violations,
        )
        return dataclasses.replace(stated, by_silo=tuple(sorted(by_silo.items())))

    def _distinct(self, participations: Mapping[str, int]) -> list[tuple[Silo, int]]:
        """Returns one silo per sampling rate, the one with the most steps, and its steps."""
        worst: dict[float, tuple[Silo, int]] = {}
        for silo in self.silos:
            steps = silo.steps * participations.get(silo.name, 0)
            if steps and (silo.rate not in worst or steps > worst[silo.rate][1]):
                worst[silo.rate] = (silo, steps)
        return list(worst.values())


def _steps(rate: float, steps: int, noise_multiplier: float) -> dpa.DpEvent:
    return dpa.SelfComposedDpEvent(events.poisson_round(rate, noise_multiplier), steps)


@functools.lru_cache(maxsize=4096)
def _epsilon(accountant: str, delta: float, rate: float, noise: float, steps: int) -> float:
    return calibration.epsilon_by(accountant, delta)(_steps(rate, steps, noise))
