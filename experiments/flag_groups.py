"""Flags from frozen dataclasses: one field is one flag, so that no flag can be forgotten.

A group is a frozen dataclass whose fields were made with `flag`. `define` turns the fields into
absl flags, `parse` turns the flags back into a validated group, and `record` gives the names and
values that are saved with a run.
"""

import dataclasses
import types
import typing
from collections.abc import Mapping, Sequence
from typing import Any

from absl import flags

from experiments import checks, paths


def flag(
    default: Any, help_text: str, choices: Sequence[str] | None = None, *, path: bool = False
) -> Any:
    """Returns a dataclass field that is a flag.

    Args:
      default: Its value where it is not given.
      help_text: What --help says.
      choices: All values that it may have; None for any.
      path: Whether it names a file or folder, or several separated by commas.
    """
    metadata = {"help": help_text, "choices": choices, "path": path}
    return dataclasses.field(default=default, metadata=metadata)


def define(group: type, flag_values: flags.FlagValues = flags.FLAGS) -> None:
    """Defines the flags of a group."""
    hints = typing.get_type_hints(group)
    for field in dataclasses.fields(group):
        kind = _plain_type(hints[field.name])
        help_text, choices = field.metadata["help"], field.metadata["choices"]
        arguments = (field.name, field.default, help_text)
        if choices is not None:
            flags.DEFINE_enum(
                field.name, field.default, list(choices), help_text, flag_values=flag_values
            )
        elif kind is bool:
            flags.DEFINE_boolean(*arguments, flag_values=flag_values)
        elif kind is int:
            flags.DEFINE_integer(*arguments, flag_values=flag_values)
        elif kind is float:
            flags.DEFINE_float(*arguments, flag_values=flag_values)
        else:
            flags.DEFINE_string(*arguments, flag_values=flag_values)


def parse(group: type, flag_values: flags.FlagValues = flags.FLAGS) -> Any:
    """Returns the group with the values of its flags; its own checks raise UserError."""
    values = {field.name: flag_values[field.name].value for field in dataclasses.fields(group)}
    for field in dataclasses.fields(group):
        value = values[field.name]
        if isinstance(value, str):
            checks.encodable(field.name, value)
        if field.metadata["path"]:
            values[field.name] = paths.expand(field.name, value)
    return group(**values)


def restore(group: type, values: Mapping[str, Any]) -> Any:
    """Returns the group with values that `record` gave; its own checks raise UserError.

    Raises:
      KeyError: If a field has no value.
      TypeError: If a value is of another type than its flag, or none of its choices; the message
        is the flag's name.
    """
    hints = typing.get_type_hints(group)
    for field in dataclasses.fields(group):
        kinds = typing.get_args(hints[field.name]) or (hints[field.name],)
        # A whole number is a number; a truth value, for Python, is a whole number.
        fitting = (*kinds, int) if float in kinds else kinds
        value, choices = values[field.name], field.metadata["choices"]
        if not isinstance(value, fitting) or (isinstance(value, bool) and bool not in kinds):
            raise TypeError(field.name)
        if choices is not None and value not in choices:
            raise TypeError(field.name)
    return group(**{field.name: values[field.name] for field in dataclasses.fields(group)})


def record(*groups: Any) -> Mapping[str, Any]:
    """Returns flag names and values of parsed groups, in order."""
    values: dict[str, Any] = {}
    for group in groups:
        values.update(dataclasses.asdict(group))
    return values


def _plain_type(hint: Any) -> type:
    """Returns the type of an annotation such as `int | None`."""
    if isinstance(hint, types.UnionType):
        (hint,) = (part for part in typing.get_args(hint) if part is not type(None))
    return hint
