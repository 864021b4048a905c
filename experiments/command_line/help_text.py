"""The text of --help: what a script does, and its flags by group, in the order of definition."""

import dataclasses
import shutil
import textwrap
from collections.abc import Iterator, Sequence
from typing import Any

from absl import flags

from tff_nlp import errors

_MARGIN = 34  # Where the descriptions begin.
_WIDEST = 100


def define(flag_values: flags.FlagValues) -> None:
    """Defines --help, if it is not yet defined."""
    if "help" not in flag_values:
        flags.DEFINE_boolean(
            "help", False, "Show this help.", short_name="h", flag_values=flag_values
        )


def of(doc: str | None, flag_values: flags.FlagValues, groups: Sequence[type] = ()) -> str:
    """Returns the help of a script.

    Args:
      doc: The script's docstring. It is not changed.
      flag_values: The script's flags.
      groups: Dataclasses that the flags were defined from. Other flags form one more group.
    """
    width = min(shutil.get_terminal_size().columns, _WIDEST)
    sections: list[tuple[str, list[str]]] = []
    seen = {"help", "h"}
    for group in groups:
        names = _names(group)
        heading = (group.__doc__ or group.__name__).strip().splitlines()[0].rstrip(".")
        sections.append((heading, names))
        seen.update(names)
    rest = [name for name in _own(flag_values) if name not in seen]
    if rest:
        sections.append(("Flags", rest))
    lines = [(doc or "").strip()]
    for heading, names in sections:
        lines += ["", f"{heading}:"]
        for name in names:
            lines += _describe(flag_values[name], width)
    lines += ["", "Help, and flags from a file:"]
    lines += _entry(
        "--flagfile=FILE", "Reads flags from a file, one a line; later ones win.", width
    )
    lines += _entry("--help, -h", "Shows this help.", width)
    return "\n".join(lines)


def _names(group: type) -> list[str]:
    """Returns a group's flags. Its own flags come before those of its base class."""
    own = list(vars(group)["__annotations__"])
    return own + [f.name for f in dataclasses.fields(group) if f.name not in own]


def _own(flag_values: flags.FlagValues) -> Iterator[str]:
    """Yields the names of all flags except absl's own, in the order of their definition."""
    for module, its_flags in flag_values.flags_by_module_dict().items():
        if not module.startswith("absl"):
            yield from (flag.name for flag in its_flags)


def _describe(flag: Any, width: int) -> list[str]:
    choices = getattr(flag.parser, "enum_values", None)
    # absl adds the choices before the description, and a note on repeated flags after it.
    words = flag.help.partition(">: ")[2] if choices else flag.help.partition(";\n")[0]
    if flag.boolean:
        head = f"--{flag.name}, --no{flag.name}"
        if flag.default is not None:  # Otherwise the description explains the default.
            words += f" Default: {'on' if flag.default else 'off'}."
    else:
        head = f"--{flag.name}={_default(flag)}"
    if choices:
        words += f" One of {', '.join(choices)}."
    return _entry(head, errors.with_flags(words), width)


def _default(flag: Any) -> str:
    """Returns the default of a flag, or its kind of value if the default is empty."""
    if flag.default not in (None, "", []):
        return ",".join(flag.default) if isinstance(flag.default, list) else str(flag.default)
    return "NUMBER" if isinstance(flag.parser, flags.FloatParser | flags.IntegerParser) else "TEXT"


def _entry(head: str, words: str, width: int) -> list[str]:
    """Returns the lines of a flag. Its description is on the right, or below a long flag."""
    margin = " " * _MARGIN
    lines = textwrap.wrap(words, max(width - _MARGIN, 30), break_on_hyphens=False)
    first = f"  {head}"
    if len(first) >= _MARGIN:
        return [first, *(margin + line for line in lines)]
    return [first.ljust(_MARGIN) + lines[0], *(margin + line for line in lines[1:])]
