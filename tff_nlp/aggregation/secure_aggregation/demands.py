"""What a client demands of a session before it takes part, whatever the server asks for."""

import dataclasses

from tff_nlp import errors
from tff_nlp.aggregation.secure_aggregation import session


@dataclasses.dataclass(frozen=True)
class Demands:
    """A client's own conditions; the server has no say in them.

    A server that lies, together with `colluders` of the invited clients, learns at most one sum,
    over at least threshold - colluders honest clients. The defaults withstand colluders that are
    fewer than a third of the clients: 1 of 5 (at least 3 honest inputs in the sum), 3 of 10 (4), 33
    of 100 (34).

    Attributes:
      fewest_clients: Smallest cohort.
      colluders: How many of the invited clients may side with a lying server; None for any number
        below a third of them.
      most_clients: Largest cohort; a client's work grows with it.
      most_vectors: How many vectors a session may have.
      most_entries: How many integers all vectors of a session may have together.
    """

    fewest_clients: int = 5
    colluders: int | None = None
    most_clients: int = 2**14
    most_vectors: int = 2**12
    most_entries: int = 2**28

    def __post_init__(self) -> None:
        if self.fewest_clients < session.FEWEST_CLIENTS:
            raise errors.UserError(
                f"fewest_clients={self.fewest_clients}: must be {session.FEWEST_CLIENTS} or more"
            )
        if self.colluders is not None and self.colluders < 0:
            raise errors.UserError(
                f"--secure_aggregation_colluders={self.colluders}: must be 0 or more"
            )

    def colluders_among(self, clients: int) -> int:
        """Returns how many of so many clients may side with the server."""
        if self.colluders is None:
            return session.fewer_than_a_third(clients)
        return self.colluders

    def least_threshold(self, clients: int) -> int:
        """Returns the smallest threshold that is accepted for so many clients."""
        return session.least_threshold(clients, self.colluders_among(clients))

    def check(self, parameters: session.Session) -> None:
        """Refuses a session in which this client's input is not safe enough.

        Raises:
          UserError: If the cohort, the threshold or the vectors are not as demanded.
        """
        count = len(parameters.clients)
        if not self.fewest_clients <= count <= self.most_clients:
            raise errors.UserError(
                f"secure aggregation: a client demands {self.fewest_clients} to"
                f" {self.most_clients} clients in a round, here are {count}"
            )
        self._check_threshold(parameters.threshold, count)
        if len(parameters.vectors) > self.most_vectors:
            raise errors.UserError(
                f"secure aggregation: {len(parameters.vectors)} vectors are more than the"
                f" {self.most_vectors} that a client accepts"
            )
        entries = sum(vector.length for vector in parameters.vectors)
        if entries > self.most_entries:
            raise errors.UserError(
                f"secure aggregation: vectors of {entries} integers are longer than the"
                f" {self.most_entries} that a client accepts"
            )

    def _check_threshold(self, threshold: int, clients: int) -> None:
        colluders, least = self.colluders_among(clients), self.least_threshold(clients)
        if colluders > clients - 2:
            raise errors.UserError(
                f"--secure_aggregation_colluders={colluders}: leaves a client alone among {clients}"
            )
        if threshold < least:
            raise errors.UserError(
                f"--secure_aggregation_threshold={threshold}: must be at least {least} of"
                f" {clients} clients, or a lying server with {colluders} of them on its side could"
                " unmask sums over a few"
            )


DEFAULT = Demands()
