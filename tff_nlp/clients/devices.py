"""The devices of clients: their speed, connection, memory, and when they can take part."""

import csv
import dataclasses
import math
import pathlib
from collections.abc import Mapping, Sequence

import numpy as np

from tff_nlp import seeds
from tff_nlp.errors import UserError, setting, verbatim

HOUR, DAY = 3600.0, 86_400.0
# Names of made-up profiles.
PHONES, EQUAL = "phones", "equal"
PROFILES = (PHONES, EQUAL)

_REQUIRED = ("examples_per_second", "download_mbits", "upload_mbits")
_OPTIONAL: Mapping[str, float] = {
    "memory_gb": math.inf,
    "from_hour": 0.0,
    "to_hour": 24.0,
    "failure_rate": 0.0,
}
_CLIENT = "client"


@dataclasses.dataclass(frozen=True, eq=False)
class Devices:
    """A device for each client. All arrays are float64[clients].

    Attributes:
      examples_per_second: Number of examples that a device trains on in a second.
      download: Bytes per second from the server.
      upload: Bytes per second to the server.
      memory: Bytes of memory.
      from_hour: The hour of the day from which a device is available, 0 to 24.
      to_hour: The hour until which it is available. If it is not above `from_hour`, the device is
        available over midnight.
      failure_rate: The probability that a device vanishes in a round in which it takes part.
      needed: Bytes of memory that training needs. Devices with less never take part.
    """

    examples_per_second: np.ndarray
    download: np.ndarray
    upload: np.ndarray
    memory: np.ndarray
    from_hour: np.ndarray
    to_hour: np.ndarray
    failure_rate: np.ndarray
    needed: float = 0.0

    def __len__(self) -> int:
        return len(self.examples_per_second)

    def needing(self, memory: float) -> "Devices":
        """Returns the devices for training that needs so many bytes of memory."""
        return dataclasses.replace(self, needed=float(memory))

    def available(self, seconds: float) -> np.ndarray:
        """Returns bool[clients]: whether a device is available at this time.

        Args:
          seconds: Seconds since the midnight before training.
        """
        hour = seconds % DAY / HOUR
        by_day = (self.from_hour <= hour) & (hour < self.to_hour)
        over_midnight = (hour >= self.from_hour) | (hour < self.to_hour)
        open_now = np.where(self.from_hour < self.to_hour, by_day, over_midnight)
        return open_now & (self.memory >= self.needed)

    def seconds(self, examples: np.ndarray, down: int, up: int) -> np.ndarray:
        """Returns float64[clients]: how long a round takes each device.

        Args:
          examples: Number of examples that each client trains on in a round, with repetitions.
          down: Bytes to a client.
          up: Bytes from a client.
        """
        return down / self.download + examples / self.examples_per_second + up / self.upload

    def describe(self) -> str:
        """Returns a readable description, one sentence."""
        speeds = np.quantile(self.examples_per_second, [0, 0.5, 1])
        text = "{:.3g} / {:.3g} / {:.3g} examples per second (min / median / max)".format(*speeds)
        small = int((self.memory < self.needed).sum())
        if small:
            text += f", {small} have less than the {self.needed / 1e9:.2f} GB that training needs"
        share = float(np.mean([self.available(hour * HOUR).mean() for hour in range(24)]))
        if share < 1:
            text += f", {share:.0%} available in the mean over a day"
        if self.failure_rate.any():
            text += f", {self.failure_rate.mean():.1%} vanish in a round"
        return text


def drawn(profile: str, clients: int, seed: int) -> Devices:
    """Returns made-up devices.

    "equal" devices are all the same and always available. "phones" differ: the speed, and apart
    from it the connection, have log-normal distributions, so that the slowest of a hundred takes
    about ten times as long as the median. Each has between 2 and 8 GB, is available for eight
    hours that begin in the evening or at night, and vanishes from 2 % of its rounds. These numbers
    are not measured; a file with your own is better.

    Args:
      profile: One of `PROFILES`.
      clients: Number of clients.
      seed: Seed of the run.
    """
    same = np.ones([clients])
    if profile == EQUAL:
        return Devices(
            10 * same, 1e6 * same, 1e6 * same, np.inf * same, 0 * same, 24 * same, 0 * same
        )
    rng = seeds.generator(seed, "devices")
    speed = 10 * rng.lognormal(0, 0.9, clients)
    connection = 2.5e6 * rng.lognormal(0, 0.7, clients)
    begin = rng.normal(23, 2, clients) % 24
    return Devices(
        examples_per_second=speed,
        download=connection,
        upload=connection / 4,
        memory=1e9 * rng.choice([2.0, 4.0, 6.0, 8.0], clients),
        from_hour=begin,
        to_hour=(begin + 8) % 24,
        failure_rate=0.02 * same,
    )


def read(path: pathlib.Path, client_ids: Sequence[str], seed: int) -> Devices:
    """Reads devices from a CSV file.

    The columns are examples_per_second, download_mbits and upload_mbits (10^6 bits per second), and
    optionally memory_gb, from_hour, to_hour (0 to 24) and failure_rate. With a column client, each
    client has the row of its id. Without it, each client gets a random row.

    Args:
      path: The file.
      client_ids: The ids of the clients.
      seed: Seed of the run.

    Raises:
      UserError: If the file cannot be read, a column or a client is missing, or a number is wrong.
    """
    rows = _rows(path)
    if _CLIENT in rows[0]:
        by_client = {row[_CLIENT]: number for number, row in enumerate(rows)}
        missing = [name for name in client_ids if name not in by_client]
        if missing:
            raise UserError(f"{_named(path)}: no row for the client {verbatim(missing[0])}")
        places = np.array([by_client[name] for name in client_ids])
    else:
        places = seeds.generator(seed, "devices").integers(0, len(rows), len(client_ids))
    columns = {
        name: np.array([_number(path, line, row, name) for line, row in enumerate(rows, 2)])[places]
        for name in (*_REQUIRED, *_OPTIONAL)
    }
    return Devices(
        examples_per_second=columns["examples_per_second"],
        download=columns["download_mbits"] * 1e6 / 8,
        upload=columns["upload_mbits"] * 1e6 / 8,
        memory=columns["memory_gb"] * 1e9,
        from_hour=columns["from_hour"],
        to_hour=columns["to_hour"],
        failure_rate=columns["failure_rate"],
    )


def _rows(path: pathlib.Path) -> list[dict[str, str]]:
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file)
            rows, columns = list(reader), reader.fieldnames or []
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{_named(path)}: {verbatim(error)}") from error
    known = (_CLIENT, *_REQUIRED, *_OPTIONAL)
    for name in _REQUIRED:
        if name not in columns:
            raise UserError(f"{_named(path)}: there is no column {name}")
    for name in columns:
        if name not in known:
            raise UserError(
                f"{_named(path)}: unknown column {verbatim(name)}; there are {', '.join(known)}"
            )
    if not rows:
        raise UserError(f"{_named(path)}: there is no row")
    return rows


def _number(path: pathlib.Path, line: int, row: Mapping[str, str], name: str) -> float:
    text = row.get(name)
    if not text and name in _OPTIONAL:
        return _OPTIONAL[name]
    try:
        value = float(text or "")
    except ValueError:
        value = math.nan
    good = {
        "from_hour": 0 <= value <= 24,
        "to_hour": 0 <= value <= 24,
        "failure_rate": 0 <= value < 1,
    }.get(name, 0 < value < math.inf)
    if not good:
        where = f"{_named(path)}, line {line}"
        raise UserError(f"{where}: {name} is {verbatim(repr(text))}, which is out of range")
    return value


def _named(path: pathlib.Path) -> str:
    return setting("device_profiles", path)
