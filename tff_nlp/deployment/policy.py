"""The limits that the operator of a silo sets. A plan beyond one of them is refused.

A policy is a JSON object, for example

    {"tasks": ["classification"], "max_rounds": 50, "max_bytes_up": 5000000,
     "dp": ["distributed", "example_level"], "min_noise_multiplier": 0.5}
"""

import dataclasses
import json
import pathlib
import typing
from collections.abc import Iterator
from typing import Any

from tff_nlp import errors
from tff_nlp.aggregation.secure_aggregation import demands
from tff_nlp.deployment.plan import Plan


@dataclasses.dataclass(frozen=True)
class Policy:
    """The limits of a silo. An absent limit permits everything.

    Attributes:
      tasks: Tasks that are permitted.
      algorithms: Algorithms that are permitted.
      encoders: Encoders that are permitted.
      max_rounds: Largest number of rounds.
      max_local_epochs: Largest number of passes over the silo's texts in a round.
      max_bytes_up: Largest number of bytes that the silo sends in a round.
      dp: Kinds of differential privacy that are permitted.
      max_clipping_norm: Largest clipping norm.
      min_noise_multiplier: Smallest noise multiplier.
      secure_aggregation: Kinds of secure aggregation that are permitted, for example ["masked"].
      min_threshold: Smallest number of silos whose sum may be revealed.
      min_silos: Smallest number of silos of a round.
      colluders: Number of silos that may collude with a lying coordinator.
    """

    tasks: tuple[str, ...] | None = None
    algorithms: tuple[str, ...] | None = None
    encoders: tuple[str, ...] | None = None
    max_rounds: int | None = None
    max_local_epochs: int | None = None
    max_bytes_up: int | None = None
    dp: tuple[str, ...] | None = None
    max_clipping_norm: float | None = None
    min_noise_multiplier: float | None = None
    secure_aggregation: tuple[str, ...] | None = None
    min_threshold: int | None = None
    min_silos: int | None = None
    colluders: int | None = None

    def demands(self, threshold: int) -> demands.Demands:
        """Returns what the silo demands of a session of secure aggregation.

        Args:
          threshold: Number of silos that must answer in each step, in the approved plan.
        """
        fewest = min(threshold, demands.DEFAULT.fewest_clients)
        return demands.Demands(
            fewest_clients=max(2, fewest if self.min_silos is None else self.min_silos),
            colluders=self.colluders,
        )

    def check(self, plan: Plan) -> None:
        """Refuses a plan beyond a limit.

        Raises:
          UserError: If it is refused. The message names all limits that are exceeded.
        """
        broken = list(self._broken(plan))
        if broken:
            raise errors.UserError(f"`policy`: does not permit this plan: {'; '.join(broken)}")

    def _broken(self, plan: Plan) -> Iterator[str]:
        asked = plan.settings
        for name, value in (
            ("tasks", asked.get("task")),
            ("algorithms", asked.get("algorithm")),
            ("encoders", asked.get("encoder")),
            ("dp", asked.get("dp")),
            ("secure_aggregation", asked.get("secure_aggregation")),
        ):
            permitted = getattr(self, name)
            if permitted is not None and value not in permitted:
                yield f"{name} {errors.verbatim(value)} is not one of {', '.join(permitted)}"
        up = plan.sent["up"] + plan.sent["masked"]
        clips = asked.get("dp") != "none"
        for name, value, applies in (
            ("max_rounds", asked.get("rounds"), True),
            ("max_local_epochs", asked.get("client_epochs"), asked.get("local_steps") is None),
            ("max_bytes_up", up, True),
            ("max_clipping_norm", asked.get("clipping_norm"), True),
        ):
            limit = getattr(self, name)
            without = name == "max_clipping_norm" and not clips
            if limit is not None and applies and (without or not _at_most(value, limit)):
                found = "without clipping" if without else f"{value:,}"
                yield f"{found} is more than {name} {limit:,}"
        for name, value in (
            ("min_noise_multiplier", asked.get("noise_multiplier")),
            ("min_threshold", plan.threshold),
            ("min_silos", asked.get("clients_per_round")),
        ):
            limit = getattr(self, name)
            if limit is not None and not _at_most(limit, value):
                yield f"{value or 0:,} is less than {name} {limit:,}"


def load(path: str) -> Policy:
    """Reads a policy.

    Args:
      path: The file; empty for a policy without limits.

    Raises:
      UserError: If the file cannot be read, or a limit does not exist or has a wrong type.
    """
    if not path:
        return Policy()
    start = errors.setting("policy", path)
    try:
        values = json.loads(pathlib.Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise errors.UserError(f"{start}: cannot be read ({errors.verbatim(error)})") from error
    if not isinstance(values, dict):
        raise errors.UserError(f"{start}: is no JSON object")
    hints = typing.get_type_hints(Policy)
    for name, value in values.items():
        if name not in hints:
            raise errors.UserError(
                f"{start}: there is no limit {errors.verbatim(name)}; the limits are "
                f"{', '.join(hints)}"
            )
        values[name] = _checked(start, name, value, hints[name])
    return Policy(**values)


def _checked(start: str, name: str, value: Any, hint: Any) -> Any:
    kinds = typing.get_args(hint)
    if any(typing.get_origin(kind) is tuple for kind in kinds):
        if not isinstance(value, list) or not all(isinstance(part, str) for part in value):
            raise errors.UserError(f'{start}: {name} must be a list of names, as in ["a", "b"]')
        return tuple(value)
    numbers = (int, float) if float in kinds else (int,)
    if isinstance(value, bool) or not isinstance(value, numbers) or not value >= 0:
        kind = "a number" if float in kinds else "an integer"
        raise errors.UserError(f"{start}: {name} must be {kind} of 0 or more")
    return value


def _at_most(value: Any, limit: Any) -> bool:
    return value is not None and limit is not None and value <= limit
