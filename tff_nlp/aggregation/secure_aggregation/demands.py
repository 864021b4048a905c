"""The conditions under which a client takes part in a session. The server cannot change them."""

import dataclasses

from tff_nlp import errors
from tff_nlp.aggregation.secure_aggregation import session


@dataclasses.dataclass(frozen=True)
class Demands:
    """The conditions of a client. The server cannot change them.

    A lying server that colludes with `colluders` of the invited clients learns at most one sum over
    at least threshold - colluders honest clients. The defaults protect against fewer colluders than
    a third of the clients: 1 of 5 (with at least 3 honest inputs in the sum), 3 of 10 (4), 33 of
    100 (34).

    Attributes:
      fewest_clients: Size of the smallest cohort.
      colluders: Number of invited clients that may collude with a lying server. None for every
        number below a third of the invited clients.
      most_clients: Size of the largest cohort. The work of a client grows with it.
      most_vectors: Maximum number of vectors in a session.
      most_entries: Maximum total number of integers in all vectors of a session.
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
                f"`secure_aggregation_colluders`={self.colluders}: must be 0 or more"
            )

    def colluders_among(self, clients: int) -> int:
        """Returns how many of this number of clients may collude with the server."""
        if self.colluders is None:
            return session.fewer_than_a_third(clients)
        return self.colluders

    def least_threshold(self, clients: int) -> int:
        """Returns the smallest threshold that the client accepts for this number of clients."""
        return session.least_threshold(clients, self.colluders_among(clients))

    def check(self, parameters: session.Session) -> None:
        """Refuses a session that does not protect this client's input well enough.

        Raises:
          UserError: If the cohort, the threshold or the vectors do not meet the conditions.
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
                f"`secure_aggregation_colluders`={colluders}: leaves a client alone among {clients}"
            )
        if threshold < least:
            raise errors.UserError(
                f"`secure_aggregation_threshold`={threshold}: must be at least {least} of"
                f" {clients} clients; otherwise a lying server that colludes with {colluders} of"
                " them could unmask sums over a few clients"
            )


DEFAULT = Demands()
