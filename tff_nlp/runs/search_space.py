"""What a search varies: options of a run, each with a range or a list of values."""

import dataclasses
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

from tff_nlp.runs import checks, configs, options

LOGUNIFORM, UNIFORM, INT, CHOICE = KINDS = ("loguniform", "uniform", "int", "choice")
_TERM = re.compile(r"\s*(\w+)\s*=\s*(\w+)\s*\((.*)\)\s*")
_GRAMMAR = "name=loguniform(low,high), uniform(low,high), int(low,high) or choice(a,b)"
# Groups that a search cannot vary: the texts, the folders and the machine are the same in all
# trials. The partition is the same, too, since it says which texts decide.
_FIXED_GROUPS = ("corpus", "clients", "personalization", "place", "execution", "tracking")
_FREE = ("clients_per_round", "sampling")
_FIXED = ("seed", "noise_seed", "eval_every", "checkpoint_every", "client_eval_examples")


@dataclasses.dataclass(frozen=True)
class Dimension:
    """An option and its values.

    Attributes:
      name: Name of the option.
      group: Field of `configs.FederatedRun` that holds it.
      kind: One of `KINDS`.
      values: The lowest and the highest value, or all values of "choice".
    """

    name: str
    group: str
    kind: str
    values: tuple[Any, ...]


def parse(search: str) -> tuple[Dimension, ...]:
    """Returns the dimensions of a search.

    Args:
      search: Value of `search`.

    Raises:
      UserError: If a part is not in the grammar, or an option or a value is not possible.
    """
    parts = [part for part in search.split(";") if part.strip()]
    dimensions = tuple(_dimension(part) for part in parts)
    names = [dimension.name for dimension in dimensions]
    checks.check(bool(names), "search", search, _GRAMMAR)
    checks.check(len(set(names)) == len(names), "search", search, "without repetition")
    return dimensions


def applied(run: configs.FederatedRun, values: Mapping[str, Any]) -> configs.FederatedRun:
    """Returns a run with other values of some options.

    Args:
      run: The run.
      values: Value by name of the option.

    Raises:
      UserError: If the configuration refuses a value.
    """
    known = _options()
    by_group: dict[str, dict[str, Any]] = {}
    for name, value in values.items():
        by_group.setdefault(known[name].group, {})[name] = value
    groups = {
        group: dataclasses.replace(getattr(run, group), **own) for group, own in by_group.items()
    }
    return dataclasses.replace(run, **groups)


def corners(dimensions: Sequence[Dimension]) -> list[dict[str, Any]]:
    """Returns single values to check a search with: each end, or each choice, one at a time."""
    return [{d.name: value} for d in dimensions for value in d.values]


@dataclasses.dataclass(frozen=True)
class _Option:
    group: str
    types: tuple[type, ...]
    choices: Sequence[str] | None


def _options() -> dict[str, _Option]:
    """Returns all options of a run by name."""
    found = {}
    for group, config in options.groups_of(configs.FederatedRun).items():
        allowed = options.types_of(config)
        for field in dataclasses.fields(config):
            found[field.name] = _Option(group, allowed[field.name], field.metadata["choices"])
    return found


def _dimension(part: str) -> Dimension:
    match = _TERM.fullmatch(part)
    if match is None or match[2] not in KINDS:
        checks.refuse("search", part.strip(), f"must be {_GRAMMAR}")
    name, kind, inside = match.groups()
    known = _options()
    if name not in known:
        checks.refuse("search", part.strip(), f"there is no option {name}")
    option = known[name]
    if (option.group in _FIXED_GROUPS and name not in _FREE) or name in _FIXED:
        checks.refuse("search", part.strip(), f"{name} is the same in all trials")
    words = [word.strip() for word in inside.split(",")]
    if kind == CHOICE:
        values = tuple(_value(word, option, part) for word in words)
        checks.check(len(set(values)) == len(values), "search", part.strip(), "without repetition")
        return Dimension(name, option.group, kind, values)
    return Dimension(name, option.group, kind, _bounds(words, kind, option, part))


def _bounds(words: Sequence[str], kind: str, option: _Option, part: str) -> tuple[Any, Any]:
    wanted = int if kind == INT else float
    if wanted not in option.types:
        checks.refuse("search", part.strip(), f"{kind} is not possible for such an option")
    try:
        low, high = (wanted(word) for word in words)
    except ValueError:
        checks.refuse("search", part.strip(), "needs two numbers, the lowest and the highest")
    ordered = -math.inf < low < high < math.inf
    checks.check(ordered, "search", part.strip(), "from a lower to a higher number")
    if kind == LOGUNIFORM and low <= 0:
        checks.refuse("search", part.strip(), "loguniform needs numbers above 0")
    return low, high


def _value(word: str, option: _Option, part: str) -> Any:
    """Returns a choice in the type of its option."""
    if type(None) in option.types and word in ("none", ""):
        return None
    if option.choices is not None and word not in option.choices:
        choices = ", ".join(option.choices)
        checks.refuse("search", part.strip(), f"{word or 'an empty value'} is not one of {choices}")
    if bool in option.types:
        checks.check(word in ("true", "false"), "search", part.strip(), "choice(true,false)")
        return word == "true"
    for kind in (int, float):
        if kind in option.types:
            try:
                return kind(word)
            except ValueError:
                checks.refuse("search", part.strip(), f"{word or 'an empty value'} is no number")
    return word
