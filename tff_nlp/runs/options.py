"""Options: fields of config dataclasses, and their values in a run's folder.

A config is a frozen dataclass. `option` creates its fields, and `__post_init__` checks them. The
scripts define a flag for each field. `record` returns the values that a run saves.
"""

import dataclasses
import typing
from collections.abc import Mapping, Sequence
from typing import Any

from tff_nlp.runs import checks


def option(
    default: Any, help_text: str, choices: Sequence[str] | None = None, *, path: bool = False
) -> Any:
    """Returns a field of a config.

    Args:
      default: Default value.
      help_text: Description for the user, as marked text (`errors`).
      choices: All possible values; None for any value.
      path: Whether the value is a path, or several paths separated by commas.
    """
    metadata = {"help": help_text, "choices": choices, "path": path}
    return dataclasses.field(default=default, metadata=metadata)


def groups_of(run: type) -> dict[str, Any]:
    """Returns the types of the groups of options of a run's config, by the name of their field."""
    hints = typing.get_type_hints(run)
    return {field.name: hints[field.name] for field in dataclasses.fields(run)}


def types_of(group: type) -> dict[str, tuple[type, ...]]:
    """Returns the types that each option of a group may have, for example int and NoneType."""
    hints = typing.get_type_hints(group)
    return {
        field.name: typing.get_args(hints[field.name]) or (hints[field.name],)
        for field in dataclasses.fields(group)
    }


def check_choices(config: Any) -> None:
    """Checks that each option with choices has one of them, as scripts do for flags.

    Raises:
      UserError: If an option has another value.
    """
    for field in dataclasses.fields(config):
        choices, value = field.metadata["choices"], getattr(config, field.name)
        if choices is not None:
            checks.check(value in choices, field.name, value, f"one of {', '.join(choices)}")


def record(*configs: Any) -> Mapping[str, Any]:
    """Returns the values of all options of some configs by name, in order."""
    values: dict[str, Any] = {}
    for config in configs:
        values.update(dataclasses.asdict(config))
    return values


def restore(kind: type, values: Mapping[str, Any]) -> Any:
    """Returns a config from the values that `record` returned.

    Args:
      kind: Type of the config.
      values: Values by name of the option. Values of other configs are ignored.

    Raises:
      KeyError: If an option has no value.
      TypeError: If a value does not have the option's type or is not one of its choices. The
        message is the name of the option.
      UserError: If the config's own checks refuse a value.
    """
    allowed = types_of(kind)
    for field in dataclasses.fields(kind):
        kinds = allowed[field.name]
        # A float option accepts an int. No number option accepts a bool, an int in Python.
        fitting = (*kinds, int) if float in kinds else kinds
        value, choices = values[field.name], field.metadata["choices"]
        if not isinstance(value, fitting) or (isinstance(value, bool) and bool not in kinds):
            raise TypeError(field.name)
        if choices is not None and value not in choices:
            raise TypeError(field.name)
    return kind(**{field.name: values[field.name] for field in dataclasses.fields(kind)})
