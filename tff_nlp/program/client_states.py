"""The state that clients keep from round to round, stored by their ids.

A client that takes part in a round writes a file, named by its id and the round. Other clients need
no space. A client's state at a checkpoint is its newest file that is not from a later round. Files
of later rounds are left by a run that was stopped; they are removed when the run is resumed.
"""

import hashlib
import pathlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from tff_nlp import durable_files
from tff_nlp.program import checkpoints


class ClientStates:
    """The states of all clients, in a folder.

    Args:
      folder: Folder of the states. It is made when the first state is saved.
      run: Identity of the run, see `RunDirectory.identity`.
    """

    def __init__(self, folder: pathlib.Path, run: str = "") -> None:
        self._folder, self._run = folder, run
        self._rounds: dict[str, list[int]] = {}
        for path in sorted(folder.iterdir()) if folder.is_dir() else ():
            self._rounds[path.name] = checkpoints.rounds(path)

    def rewind(self, number: int) -> None:
        """Removes the states of rounds after a checkpoint.

        Args:
          number: The round of the checkpoint; 0 removes all states.

        Raises:
          WriteError: If a state cannot be removed.
        """
        for key, rounds in self._rounds.items():
            for later in [r for r in rounds if r > number]:
                checkpoints.remove(self._folder / key, later)
                rounds.remove(later)

    def load(self, client: str, like: Sequence[Any]) -> list[np.ndarray] | None:
        """Returns a client's newest state, or None before its first round.

        Args:
          client: The client's id.
          like: Specs of the state's arrays.

        Raises:
          UserError: If the client's file is damaged.
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
          arrays: The state's arrays.

        Raises:
          WriteError: If the state cannot be written.
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
        """Removes the states that no checkpoint needs any more.

        Args:
          number: The round of the oldest checkpoint that is kept.

        Raises:
          WriteError: If a state cannot be removed.
        """
        for key, rounds in self._rounds.items():
            needed = max((r for r in rounds if r <= number), default=0)
            for older in [r for r in rounds if r < needed]:
                checkpoints.remove(self._folder / key, older)
                rounds.remove(older)


def _key(client: str) -> str:
    """Returns a folder name for an id. The id may contain any characters."""
    return hashlib.sha256(client.encode("utf-8", "surrogatepass")).hexdigest()[:32]
