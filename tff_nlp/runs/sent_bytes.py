"""The bytes to and from all clients, from the rows of metrics.csv."""

import itertools
from collections.abc import Mapping, Sequence


def cumulative(rows: Sequence[Mapping[str, str]], *, down: int, up: int) -> list[int]:
    """Returns the bytes up to and with each row.

    With devices, not all clients that are asked to train send an update (`device_rounds.row`).

    Args:
      rows: Rows of metrics.csv. Rows of central training have no clients.
      down: Bytes to a client that is asked to train.
      up: Bytes from a client whose update arrives.
    """

    def count(row: Mapping[str, str], name: str) -> int:
        return int(row.get(name) or row.get("clients") or 0)

    return list(
        itertools.accumulate(
            count(row, "asked_clients") * down + count(row, "arrived_clients") * up for row in rows
        )
    )
