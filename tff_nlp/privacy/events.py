"""Builds, merges and saves dp_accounting's events, which describe the privacy cost of rounds.

A noise multiplier is the standard deviation of the noise on the *sum* (before the division by the
cohort) over the clipping norm. Adding or removing a client changes a sum by at most the clipping
norm. Replacing a client by another changes it by at most twice the clipping norm.
"""

import math
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import dp_accounting as dpa

_EVENTS: dict[str, type[dpa.DpEvent]] = {
    "gaussian": dpa.GaussianDpEvent,
    "poisson_sampled": dpa.PoissonSampledDpEvent,
    "sampled_without_replacement": dpa.SampledWithoutReplacementDpEvent,
    "self_composed": dpa.SelfComposedDpEvent,
    "composed": dpa.ComposedDpEvent,
    "no_op": dpa.NoOpDpEvent,
    "non_private": dpa.NonPrivateDpEvent,
}
_NAMES = {cls: name for name, cls in _EVENTS.items()}


def poisson_round(sampling_probability: float, noise_multiplier: float) -> dpa.DpEvent:
    """Returns one round in which each client takes part independently with the same probability.

    Args:
      sampling_probability: Probability with which a client takes part.
      noise_multiplier: Noise on the sum over the clipping norm.
    """
    return dpa.PoissonSampledDpEvent(sampling_probability, dpa.GaussianDpEvent(noise_multiplier))


def fixed_size_round(population: int, clients: int, noise_multiplier: float) -> dpa.DpEvent:
    """Returns one round of exactly `clients` clients, drawn uniformly without replacement.

    The amplification bound (Wang, Balle and Kasiviswanathan 2019, theorem 27) is for replacing one
    client by another. This changes the sum by up to twice the clipping norm, so the event has half
    of the noise multiplier.

    Args:
      population: Number of clients that may be drawn.
      clients: Cohort size.
      noise_multiplier: Noise on the sum over the clipping norm.
    """
    return dpa.SampledWithoutReplacementDpEvent(
        population, clients, dpa.GaussianDpEvent(noise_multiplier / 2)
    )


def sampled_round(
    population: int, clients: int, noise_multiplier: float, *, fixed_size: bool
) -> dpa.DpEvent:
    """Returns one round of a fixed-size cohort, or of a Poisson sample with this expected size."""
    if fixed_size:
        return fixed_size_round(population, clients, noise_multiplier)
    return poisson_round(clients / population, noise_multiplier)


def everybody_round(noise_multiplier: float) -> dpa.DpEvent:
    """Returns one round without sampling: every client may have taken part."""
    return dpa.GaussianDpEvent(noise_multiplier)


def compose(events: Iterable[dpa.DpEvent]) -> dpa.DpEvent:
    """Returns the composition of events. Equal events in sequence are merged and counted.

    Args:
      events: Rounds or compositions of rounds, in their order.
    """
    runs: list[tuple[dpa.DpEvent, int]] = []
    for event, count in _flat(events):
        if runs and runs[-1][0] == event:
            runs[-1] = (event, runs[-1][1] + count)
        else:
            runs.append((event, count))
    merged = [event if n == 1 else dpa.SelfComposedDpEvent(event, n) for event, n in runs]
    if not merged:
        return dpa.NoOpDpEvent()
    return merged[0] if len(merged) == 1 else dpa.ComposedDpEvent(merged)


def _flat(events: Iterable[dpa.DpEvent]) -> Iterator[tuple[dpa.DpEvent, int]]:
    for event in events:
        if isinstance(event, dpa.ComposedDpEvent):
            yield from _flat(event.events)
        elif isinstance(event, dpa.SelfComposedDpEvent):
            for inner, count in _flat([event.event]):
                yield inner, count * event.count
        elif not isinstance(event, dpa.NoOpDpEvent):
            yield event, 1


def rounds_of(event: dpa.DpEvent) -> list[tuple[dpa.DpEvent, int]]:
    """Returns the distinct rounds of a composition with their counts, in order."""
    return list(_flat([event]))


def noise_multiplier_of(event: dpa.DpEvent) -> float | None:
    """Returns the noise multiplier of one round, or None if it is not a Gaussian mechanism.

    Several Gaussian mechanisms on the same clients, such as the sum and the count of adaptive
    clipping, are equivalent to one with sigma = (sum of sigma_i^-2)^-1/2.
    """
    if isinstance(event, dpa.GaussianDpEvent):
        return float(event.noise_multiplier)
    if isinstance(event, dpa.PoissonSampledDpEvent):
        return noise_multiplier_of(event.event)
    if isinstance(event, dpa.SampledWithoutReplacementDpEvent):
        half = noise_multiplier_of(event.event)
        return None if half is None else 2 * half
    if isinstance(event, dpa.ComposedDpEvent):
        parts = [noise_multiplier_of(part) for part in event.events]
        if not parts or None in parts:
            return None
        if 0.0 in parts:
            return 0.0
        return math.fsum(part**-2 for part in parts if part is not None) ** -0.5
    return None


def unsampled(event: dpa.DpEvent) -> dpa.DpEvent:
    """Returns one round as if all clients had taken part, for the same neighbouring relation.

    For a fixed-size cohort, the result is the Gaussian mechanism for replacing one client by
    another, with half of the noise multiplier (see `fixed_size_round`).
    """
    if isinstance(event, dpa.PoissonSampledDpEvent | dpa.SampledWithoutReplacementDpEvent):
        event = event.event
    noise = noise_multiplier_of(event)
    return dpa.NonPrivateDpEvent() if noise is None else everybody_round(noise)


def simplify(event: dpa.DpEvent) -> dpa.DpEvent:
    """Returns an equivalent event in which each sampled round has a single Gaussian.

    The PLD accountant supports nothing else inside of Poisson sampling.
    """
    if isinstance(event, dpa.PoissonSampledDpEvent):
        noise = noise_multiplier_of(event.event)
        if noise is not None:
            return poisson_round(event.sampling_probability, noise)
    if isinstance(event, dpa.ComposedDpEvent):
        return dpa.ComposedDpEvent([simplify(part) for part in event.events])
    if isinstance(event, dpa.SelfComposedDpEvent):
        return dpa.SelfComposedDpEvent(simplify(event.event), event.count)
    return event


def to_json(event: dpa.DpEvent) -> dict[str, Any]:
    """Returns an event as JSON values.

    Raises:
      ValueError: If the kind of the event is not supported.
    """
    name = _NAMES.get(type(event))
    if name is None:
        raise ValueError(f"cannot save a {type(event).__name__}")
    fields: dict[str, Any] = {"kind": name}
    for attribute in getattr(type(event), "__attrs_attrs__", ()):
        value = getattr(event, attribute.name)
        if isinstance(value, dpa.DpEvent):
            value = to_json(value)
        elif isinstance(value, list):
            value = [to_json(part) for part in value]
        elif hasattr(value, "item"):  # A NumPy scalar, as TFF returns them.
            value = value.item()
        fields[attribute.name] = value
    return fields


def from_json(saved: Mapping[str, Any]) -> dpa.DpEvent:
    """Reverses `to_json`.

    Raises:
      ValueError: If the value is not a result of `to_json`.
    """
    cls = _EVENTS.get(saved.get("kind", ""))
    if cls is None:
        raise ValueError(f"not a saved event: {dict(saved)}")
    fields: dict[str, Any] = {}
    for name, value in saved.items():
        if isinstance(value, Mapping):
            fields[name] = from_json(value)
        elif isinstance(value, list):
            fields[name] = [from_json(part) for part in value]
        elif name != "kind":
            fields[name] = value
    return cls(**fields)
