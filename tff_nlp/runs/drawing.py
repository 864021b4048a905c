"""Random choices of the rounds. They derive from the run's seed, or from a secret for privacy."""

import dataclasses
from collections.abc import Callable

import numpy as np

from tff_nlp import seeds
from tff_nlp.clients import cohorts
from tff_nlp.privacy import contract_terms
from tff_nlp.privacy.noise_secret import NoiseSecret, cohort_seed


@dataclasses.dataclass(frozen=True)
class Drawing:
    """Draws cohorts, batches and keys as the accountant of a process assumes.

    Attributes:
      conduct: What the process does with its clients.
      rounds: How its rounds are drawn.
      seed: Seed of the run.
      secret: The secret from which the noise derives; None without privacy.
    """

    conduct: contract_terms.Conduct
    rounds: contract_terms.Rounds
    seed: int
    secret: NoiseSecret | None = None

    def cohorts(self, population: int, clients_per_round: int) -> Callable[[int], np.ndarray]:
        """Returns the function round -> cohort (see `cohorts.sampler`).

        Args:
          population: Number of clients.
          clients_per_round: Size of the cohort, or its expected size.
        """
        sampling = self.rounds.sampling
        mechanism = self.conduct.aggregator.mechanism
        seed = cohort_seed(sampling, mechanism, self.seed, self.secret)
        return cohorts.sampler(sampling, seed, population, clients_per_round)

    def order(self, number: int) -> int:
        """Returns the seed of the clients' batches in a round."""
        if self.secret is not None and self.conduct.by_example:
            # The examples of a DP-SGD batch must be as secret as its noise.
            return self.secret.seed("batches", number)
        return seeds.derive(self.seed, "client_order", number)

    def key(self, client: int, number: int) -> np.ndarray | None:
        """Returns the key of the noise that a client adds, uint32[8]; None if it adds no noise."""
        draws = self.conduct.by_example or self.conduct.aggregator.takes_keys
        if self.secret is None or not draws:
            return None
        return self.secret.key("client", number, client)
