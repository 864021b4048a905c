"""Which silos took part in which round, on disk, so that a restarted coordinator knows it."""

import json
import pathlib
from collections.abc import Sequence

from tff_nlp import durable_files, errors

NAME = "participation.jsonl"


class Participation:
    """The rounds of a federation and their silos.

    Attributes:
      rounds: Number of rounds.
    """

    def __init__(self, path: pathlib.Path, rounds: int) -> None:
        """Reads the file, and removes rounds that have no checkpoint.

        Args:
          path: The file. It need not exist.
          rounds: Number of rounds that have a checkpoint.

        Raises:
          UserError: If the file is damaged.
          WriteError: If it cannot be written.
        """
        self._path, self.rounds = path, 0
        self._last: dict[str, int] = {}
        try:
            lines = durable_files.whole_lines(path)
            kept = [line for line in lines if self._read(line, rounds)]
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise errors.UserError(f"`output_dir`: {errors.verbatim(path)} is damaged") from error
        if len(kept) < len(lines):
            durable_files.replace_text(path, "".join(f"{line}\n" for line in kept))

    def _read(self, line: str, rounds: int) -> bool:
        entry = json.loads(line)
        number, silos = int(entry["round"]), [str(name) for name in entry["silos"]]
        if number > rounds:
            return False
        self._last |= dict.fromkeys(silos, number)
        self.rounds = number
        return True

    def last(self, name: str) -> int:
        """Returns the last round whose sum has an update of a silo; 0 for none."""
        return self._last.get(name, 0)

    def add(self, number: int, names: Sequence[str]) -> None:
        """Adds a round, before its weights are sent to anybody.

        Args:
          number: The round, from 1.
          names: The silos with an update in its sum.

        Raises:
          WriteError: If the file cannot be written.
        """
        line = json.dumps({"round": number, "silos": list(names)})
        durable_files.append_text(self._path, f"{line}\n")
        self._last |= dict.fromkeys(names, number)
        self.rounds = number
