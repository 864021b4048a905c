"""The client-level privacy guarantee of a run after any number of rounds.

`Guarantee` has the parameters of a run that its accounting needs. `contract.violations` compares
them with what the run does.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import dp_accounting as dpa

from tff_nlp import errors
from tff_nlp.privacy import (
    accounting,
    calibration,
    dp_ftrl,
    events,
    mechanism_checks,
    statement,
)
from tff_nlp.privacy.names import (  # noqa: F401 (the room knows them from here)
    ADAPTIVE_CLIPPING,
    CLIENT_LEVEL,
    CYCLIC,
    DISTRIBUTED,
    EXAMPLE_LEVEL,
    FIXED,
    GAUSSIAN,
    POISSON,
    SAMPLINGS,
    TREE_AGGREGATION,
)


@dataclasses.dataclass(frozen=True)
class Guarantee:
    """The parameters of a run that its accounting needs.

    Attributes:
      mechanism: Name of the mechanism, one of `CLIENT_LEVEL`.
      population: Number of clients.
      clients_per_round: Expected cohort size.
      sampling: Kind of the cohort sampling: "poisson", "fixed" or "cyclic".
      noise_multiplier: Noise multiplier, as in `mechanism.Mechanism`.
      delta: Probability with which epsilon may fail, above 0 and at most 1/population.
      accountant: Accountant of the epsilon that is shown during the run and compared with a target.
      participation: Bound on the participation that a cyclic sampler enforces; otherwise None.
      restart_every: Number of rounds after which a new tree begins. None for a single tree.
      violations: Reasons why the run does not meet the accountant's assumptions, as marked texts
        (`errors`). Empty for a run with a guarantee.
    """

    mechanism: str
    population: int
    clients_per_round: int
    sampling: str
    noise_multiplier: float
    delta: float
    accountant: str = "rdp"
    participation: dp_ftrl.Participation | None = None
    restart_every: int | None = None
    violations: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.mechanism not in CLIENT_LEVEL:
            raise errors.UserError(
                f"{errors.setting('dp', self.mechanism)}: choose one of {', '.join(CLIENT_LEVEL)}"
            )
        if not 1 <= self.clients_per_round <= self.population:
            raise errors.UserError(
                f"`clients_per_round`={self.clients_per_round}: must be from 1 to the population, "
                f"{self.population}"
            )
        mechanism_checks.check_noise_multiplier(self.noise_multiplier)
        accounting.check_delta(self.delta, self.population)
        calibration.check_accountant(self.accountant)
        if self.mechanism == DISTRIBUTED and self.accountant == "pld":
            raise errors.UserError(
                "`accountant`=pld: does not support the discrete noise of `dp`=distributed; use rdp"
            )
        self._check_sampling()

    def _check_sampling(self) -> None:
        """Checks that the mechanism's accounting supports the sampling.

        With violations no epsilon is claimed, so every sampling is allowed.
        """
        is_tree = self.mechanism == TREE_AGGREGATION
        if is_tree and self.participation is None:
            raise errors.UserError(
                f"{errors.setting('dp', self.mechanism)}: needs a bound on how often a client "
                "takes part"
            )
        if not is_tree and (self.participation is not None or self.restart_every is not None):
            raise errors.UserError(
                f"{errors.setting('dp', self.mechanism)}: does not use trees or a bound on "
                "participation"
            )
        known: tuple[str, ...] = SAMPLINGS[self.mechanism]
        if POISSON in known:
            known = (*known, FIXED)  # neighbours then differ by replacing one client
        if self.sampling not in known and not self.violations:
            raise errors.UserError(
                f"{errors.setting('sampling', self.sampling)}: the accountant of "
                f"{errors.setting('dp', self.mechanism)} supports {' and '.join(known)}"
            )

    def round_event(self) -> dpa.DpEvent:
        """Returns the event of one round. For a tree it is the event of one node."""
        if self.participation is not None:
            return events.everybody_round(self.noise_multiplier)
        return events.sampled_round(
            self.population,
            self.clients_per_round,
            self.noise_multiplier,
            fixed_size=self.sampling == FIXED,
        )

    def record(self, cohort: Sequence[int]) -> dict[str, Any]:
        """Returns the event of a round as JSON values.

        It does not name the clients, because amplification by sampling requires that the cohorts
        are secret.

        Args:
          cohort: Positions of the clients that took part.
        """
        return {"clients": len(cohort), "event": events.to_json(self.round_event())}

    def epsilon_of(self, records: Sequence[Mapping[str, Any]]) -> float:
        """Returns epsilon after some rounds.

        Args:
          records: Result of `record` for each round.
        """
        return self.epsilon(len(records))

    def statement_of(self, records: Sequence[Mapping[str, Any]]) -> statement.PrivacyStatement:
        """Returns the privacy statement of some rounds.

        Args:
          records: Result of `record` for each round.
        """
        return self.state([events.from_json(record["event"]) for record in records])

    def compose(self, recorded: Sequence[dpa.DpEvent]) -> dpa.DpEvent:
        """Returns the rounds of a run as one event.

        Args:
          recorded: Result of `round_event` for each round.

        Raises:
          RunError: If the noise of a tree changed between rounds.
        """
        if self.participation is None or not recorded:
            return events.compose(recorded)
        noise = events.noise_multiplier_of(recorded[0])
        if noise is None or any(event != recorded[0] for event in recorded):
            raise errors.RunError("the noise of a tree cannot change between rounds")
        return dp_ftrl.event_of(noise, self._squared_sensitivity(len(recorded)))

    def epsilon(self, rounds: int) -> float:
        """Returns epsilon by the run's accountant after a number of rounds."""
        if not rounds:
            return 0.0
        return self._epsilon_of(self.noise_multiplier, rounds)

    def with_noise_for(self, target_epsilon: float, rounds: int) -> "Guarantee":
        """Returns a copy with the smallest noise that keeps a target for a number of rounds.

        Raises:
          UserError: If no noise keeps the target.
        """
        noise = calibration.smallest_noise(
            lambda z: self._event_of(z, rounds), target_epsilon, self._accounted()
        )
        return dataclasses.replace(self, noise_multiplier=noise)

    def most_rounds(self, target_epsilon: float, rounds: int) -> int:
        """Returns the number of rounds, at most `rounds`, that keep a target.

        Raises:
          UserError: If the first round already exceeds the target.
        """
        if self.epsilon(rounds) <= target_epsilon:
            return rounds
        return calibration.most_rounds(
            lambda n: self._event_of(self.noise_multiplier, n), target_epsilon, self._accounted()
        )

    def state(self, recorded: Sequence[dpa.DpEvent]) -> statement.PrivacyStatement:
        """Returns the privacy statement of some rounds.

        Args:
          recorded: Event of each round.
        """
        event = self.compose(recorded)
        if self.participation is not None:
            return statement.state_bounded(
                event,
                mechanism=self.mechanism,
                population=self.population,
                clients_per_round=self.clients_per_round,
                noise_multiplier=self.noise_multiplier,
                rounds=len(recorded),
                delta=self.delta,
                accountant=self.accountant,
                violations=self.violations,
            )
        return statement.state(
            event,
            mechanism=self.mechanism,
            population=self.population,
            clients_per_round=self.clients_per_round,
            delta=self.delta,
            accountant=self.accountant,
            violations=self.violations,
            discrete=self.mechanism == DISTRIBUTED,
        )

    def event(self, rounds: int) -> dpa.DpEvent:
        """Returns a number of rounds as one event."""
        return self._event_of(self.noise_multiplier, rounds)

    def _epsilon_of(self, noise_multiplier: float, rounds: int) -> float:
        return self._accounted()(self._event_of(noise_multiplier, rounds))

    def _event_of(self, noise_multiplier: float, rounds: int) -> dpa.DpEvent:
        if self.participation is not None:
            return dp_ftrl.event_of(noise_multiplier, self._squared_sensitivity(rounds))
        one = dataclasses.replace(self, noise_multiplier=noise_multiplier).round_event()
        return dpa.SelfComposedDpEvent(one, rounds)

    def _squared_sensitivity(self, rounds: int) -> int:
        if self.participation is None:
            raise ValueError("only a bounded participation has a sensitivity over rounds")
        return dp_ftrl.squared_sensitivity(self.participation, rounds, self.restart_every)

    def _accounted(self) -> calibration.EpsilonOf:
        if self.participation is None:
            return calibration.epsilon_by(self.accountant, self.delta)
        return calibration.epsilon_by(
            self.accountant,
            self.delta,
            classic_orders=accounting.FINE_ORDERS,
            adjacency=accounting.ZERO_OUT,
        )
