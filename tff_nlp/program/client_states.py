"""What clients keep from round to round, stored by their ids.

A client that takes part in a round leaves a file named by its id and the round; nobody else costs
anything. A client's state at a checkpoint is its newest file that is not from a later round.
Files of later rounds are left over from a run that was stopped, and go when it goes on.
"""

import hashlib
import pathlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from tff_nlp import durable_files
from tff_nlp.program import checkpoints


class ClientStates:
    """The states of a population, in a folder.

    Args:
      folder: Where the states lie; made when the first one is saved.
      run: What tells this run from others, see `RunDirectory.identity`.
    """

    def __init__(self, folder: pathlib.Path, run: str = "") -> None:
        self._folder, self._run = folder, run
        self._rounds: dict[str, list[int]] = {}
        for path in sorted(folder.iterdir()) if folder.is_dir() else ():
            self._rounds[path.name] = checkpoints.rounds(path)

    def rewind(self, number: int) -> None:
        """Forgets what rounds after this one left.

        Args:
          number: The round of the checkpoint; 0 for none.
        """
        for key, rounds in self._rounds.items():
            for later in [r for r in rounds if r > number]:
                checkpoints.remove(self._folder / key, later)
                rounds.remove(later)

    def load(self, client: str, like: Sequence[Any]) -> list[np.ndarray] | None:
        """Returns a client's newest state; None before it has taken part.

        Args:
          client: The client's id.
          like: Specs of the state's arrays.

        Raises:
          UserError: If its file is damaged.
        """
        key = _key(client)
        rounds = self._rounds.get(key)
        if not rounds:
            return None
        return checkpoints.load(self._folder / key, max(rounds), like, f"{self._run};{key}")

    def save(self, client: str, number: int, arrays: Sequence[np.ndarray]) -> None:
        """Saves a client's state after a round.

        Args:
          client: The client's id.
          number: The round, from 1.
          arrays: The state.

        Raises:
          WriteError: If it cannot be written.
        """
        key = _key(client)
        folder = self._folder / key
        with durable_files.writing(folder):
            folder.mkdir(mode=durable_files.PRIVATE_FOLDER, parents=True, exist_ok=True)
        checkpoints.write(folder, number, arrays, f"{self._run};{key}")
        rounds = self._rounds.setdefault(key, [])
        if number not in rounds:
            rounds.append(number)

    def forget_before(self, number: int) -> None:
        """Removes states to which the run cannot go back any more.

        Args:
          number: The oldest checkpoint that is left.
        """
        for key, rounds in self._rounds.items():
            needed = max((r for r in rounds if r <= number), default=0)
            for older in [r for r in rounds if r < needed]:
                checkpoints.remove(self._folder / key, older)
                rounds.remove(older)


def _key(client: str) -> str:
    """Returns a folder's name for an id, which may hold anything."""
    return hashlib.sha256(client.encode("utf-8", "surrogatepass")).hexdigest()[:32]
