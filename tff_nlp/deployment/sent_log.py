"""A silo's own record of what it has sent, one JSON object per line."""

import datetime
import json
import pathlib
from collections.abc import Sequence
from typing import Any

from tff_nlp import durable_files, errors

NAME = "sent.jsonl"


class SentLog:
    """The record of a silo. Each entry is on disk before anything is sent."""

    def __init__(self, path: pathlib.Path) -> None:
        """Reads the entries of earlier processes.

        Args:
          path: The file. It need not exist.

        Raises:
          UserError: If the file is damaged.
        """
        self._path = path
        self._entries: list[dict[str, Any]] = []
        try:
            self._entries.extend(json.loads(line) for line in durable_files.whole_lines(path))
        except (OSError, ValueError, RecursionError) as error:
            raise errors.UserError(f"`silo_dir`: {errors.verbatim(path)} is damaged") from error

    @property
    def entries(self) -> Sequence[dict[str, Any]]:
        """All entries, oldest first."""
        return tuple(self._entries)

    def add(self, what: str, **values: Any) -> None:
        """Adds an entry with the time.

        Args:
          what: "update" for an update in the clear, "masked update", "unmasking" or "refusal".
          **values: Facts of the entry, as JSON values.

        Raises:
          WriteError: If the file cannot be written.
        """
        now = datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds")
        entry = {"time": now, "what": what, **values}
        durable_files.append_text(self._path, f"{json.dumps(entry)}\n")
        self._entries.append(entry)

    def updates(self, plan: str) -> set[tuple[int, str]]:
        """Returns the rounds and weights for which an update was sent.

        Args:
          plan: Digest of the plan, hexadecimal.
        """
        return {
            (entry["round"], entry["weights"])
            for entry in self._entries
            if entry["what"] in ("update", "masked update") and entry.get("plan") == plan
        }

    def unmasked(self, plan: str, number: int) -> set[tuple[int, ...]]:
        """Returns the sets of silos whose sum of a round was unmasked.

        Args:
          plan: Digest of the plan, hexadecimal.
          number: The round, from 1.
        """
        return {
            tuple(entry["silos"])
            for entry in self._entries
            if entry["what"] == "unmasking"
            and (entry.get("plan"), entry["round"]) == (plan, number)
        }
