"""Defines a flag for each option of a run's configs, so that no flag can be forgotten."""

import dataclasses
import types
import typing
from typing import Any

from absl import flags

from experiments.flags import paths
from tff_nlp.runs import checks, options


def of_run(run: type) -> tuple[type, ...]:
    """Returns the groups of flags of a run's config, which are the types of its fields."""
    return tuple(options.groups_of(run).values())


def define(group: type, flag_values: flags.FlagValues = flags.FLAGS) -> None:
    """Defines a flag for each option of a config."""
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
    """Returns a config with the values of its flags.

    Raises:
      UserError: If a value is wrong.
    """
    values = {field.name: flag_values[field.name].value for field in dataclasses.fields(group)}
    for field in dataclasses.fields(group):
        value = values[field.name]
        if isinstance(value, str):
            checks.encodable(field.name, value)
        if field.metadata["path"]:
            values[field.name] = paths.expand(field.name, value)
    return group(**values)


def _plain_type(hint: Any) -> type:
    """Returns the type of an annotation such as `int | None`."""
    if isinstance(hint, types.UnionType):
        (hint,) = (part for part in typing.get_args(hint) if part is not type(None))
    return hint
