"""What a federation trains, as one text that all parties see and that silos approve."""

import dataclasses
import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

from tff_nlp import errors

_FORMAT = 1


@dataclasses.dataclass(frozen=True)
class Plan:
    """The plan of a federation. A silo builds the computation from it, and approves its digest.

    Attributes:
      settings: The options of the run by name, from which both sides build the computation.
      labels: Names of the labels in their order; empty for a language model.
      silos: Names of the silos, sorted.
      computation: Fingerprint of what a silo computes in a round.
      model: Fingerprints of the vocabulary and of the frozen weights.
      sent: Bytes of a silo in a round, without framing: `down`, `up` and `masked`.
      threshold: Number of silos that must answer in each step of secure aggregation; 0 without it.
      versions: Versions of the coordinator's software, for messages.
    """

    settings: Mapping[str, Any]
    labels: tuple[str, ...]
    silos: tuple[str, ...]
    computation: str
    model: Mapping[str, str]
    sent: Mapping[str, int]
    threshold: int
    versions: Mapping[str, str]

    def encode(self) -> str:
        """Returns the plan as JSON text. The same plan always gives the same text."""
        values = {"format": _FORMAT, **dataclasses.asdict(self)}
        return json.dumps(values, sort_keys=True, indent=1)

    @property
    def digest(self) -> bytes:
        """SHA-256 of the text."""
        return hashlib.sha256(self.encode().encode()).digest()

    @property
    def rounds(self) -> int:
        """Number of rounds."""
        return int(self.settings["rounds"])

    def describe_sizes(self) -> str:
        """Returns what a silo fetches and sends in a round, one readable sentence."""
        sent = self.sent
        masked = f" and {sent['masked'] / 1e6:,.3f} MB masked" if sent["masked"] else ""
        return (
            f"a silo fetches {sent['down'] / 1e6:,.3f} MB and sends {sent['up'] / 1e6:,.3f} MB"
            f"{masked} in each of {self.rounds} rounds"
        )

    def differences(self, other: "Plan") -> list[str]:
        """Returns what another plan has else, one readable piece per difference."""
        mine, others = _flat(self), _flat(other)
        return [
            f"{errors.verbatim(name)} {_short(others.get(name))} in place of {_short(value)}"
            for name, value in mine.items()
            if others.get(name) != value
        ] + [f"{errors.verbatim(name)} is new" for name in others if name not in mine]


def decode(text: str) -> Plan:
    """Returns the plan of a text.

    Raises:
      UserError: If the text is no plan.
    """
    try:
        values = json.loads(text)
        if values.pop("format") != _FORMAT:
            raise errors.UserError(
                "the plan has another format; use the same version of this software on both sides"
            )
        found = Plan(
            **{
                **values,
                "labels": _names(values["labels"]),
                "silos": _names(values["silos"]),
            }
        )
        typed = (
            isinstance(found.settings, dict)
            and isinstance(found.settings.get("rounds"), int)
            and isinstance(found.computation, str)
            and isinstance(found.threshold, int)
            and all(isinstance(part, dict) for part in (found.model, found.sent, found.versions))
            and all(isinstance(size, int) for size in found.sent.values())
        )
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        if isinstance(error, errors.UserError):
            raise
        raise errors.UserError("the plan is damaged") from error
    if not typed:
        raise errors.UserError("the plan is damaged")
    return found


def _names(values: Sequence[Any]) -> tuple[str, ...]:
    if not isinstance(values, list) or not all(isinstance(name, str) for name in values):
        raise TypeError("names")
    return tuple(values)


def _flat(plan: Plan) -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in dataclasses.asdict(plan).items():
        if name in ("settings", "model", "sent", "versions"):
            flat.update(value)
        else:
            flat[name] = value
    return flat


def _short(value: Any) -> str:
    text = str(value)
    return errors.verbatim(text if len(text) <= 40 else f"{text[:16]}…")
