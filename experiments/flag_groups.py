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


def flag(default: Any, help_text: str, choices: Sequence[str] | None = None) -> Any:
    """Returns a dataclass field that is a flag."""
    return dataclasses.field(default=default, metadata={"help": help_text, "choices": choices})


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
    return group(**{f.name: flag_values[f.name].value for f in dataclasses.fields(group)})


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
