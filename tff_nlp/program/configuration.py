"""Whether a command goes on with the run that a folder holds: which flags may differ, and how."""

import dataclasses
import json
from collections.abc import Collection, Mapping
from typing import Any

from tff_nlp import errors


@dataclasses.dataclass(frozen=True)
class Rules:
    """How the configuration of a command may differ from that of the run that it goes on with.

    A configuration maps flag names to JSON values. Names with a blank in them are no flags but
    digests of what flags led to.

    Attributes:
      late: Names whose values are known only when the run begins.
      described: Flags that have no effect but through the digests: they may differ where those are
        the same, as the path of a corpus that was moved.
      growing: Flags whose number may be larger than before, with the reason why it may not be in
        this run, in which another flag is named; an empty reason where it may.
    """

    late: Collection[str] = ()
    described: Collection[str] = ()
    growing: Mapping[str, str] = dataclasses.field(default_factory=dict)


def check_same(old: Mapping[str, Any], new: Mapping[str, Any], rules: Rules, where: str) -> None:
    """Checks that a command may go on with a run.

    Args:
      old: Configuration of the run.
      new: Configuration of the command, both without late names.
      rules: How they may differ.
      where: The folder as its flag has it, for messages.

    Raises:
      UserError: If another flag differs, naming it.
    """
    new = json.loads(json.dumps(new))  # As it would be read back: tuples are lists.
    strange = sorted(set(old) ^ set(new))
    if strange:
        raise errors.UserError(
            f"{where}: holds a run of another script or version "
            f"({', '.join(f'--{name}' for name in strange[:3])} stand in one of them only); "
            "use another folder"
        )
    different = [name for name in new if old[name] != new[name]]
    digests = [name for name in different if " " in name]
    flags = [name for name in different if " " not in name]
    if not digests:
        flags = [name for name in flags if name not in rules.described]
    flags = [name for name in flags if not _has_grown(name, old, new, rules, where)]
    # What the flags led to is worth telling only where no flag differs.
    if flags:
        were, are = (" ".join(_flag(n, config[n]) for n in flags[:3]) for config in (old, new))
        raise errors.UserError(
            f"{where}: holds a run with {were}, not {are}; use another folder or the same flags"
        )
    if digests:
        raise errors.UserError(
            f"{where}: holds a run on other texts: those of --corpus or --test_corpus have "
            "changed since; use another folder"
        )


def _has_grown(
    name: str, old: Mapping[str, Any], new: Mapping[str, Any], rules: Rules, where: str
) -> bool:
    if name not in rules.growing or not isinstance(old[name], int) or new[name] < old[name]:
        return False
    if rules.growing[name]:
        raise errors.UserError(
            f"{where}: holds a run with {_flag(name, old[name])} that cannot go on to "
            f"{_flag(name, new[name])}: {rules.growing[name]}; use another folder"
        )
    return True


def _flag(name: str, value: Any) -> str:
    """Returns a flag as the command line has it."""
    if isinstance(value, list):
        value = ",".join(str(part) for part in value)
    if isinstance(value, bool):
        value = str(value).lower()
    return f"--{name}={'' if value is None else value}"
