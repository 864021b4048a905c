"""Checks whether a command may resume the run in a folder: which flags may differ, and how."""

import dataclasses
import json
from collections.abc import Collection, Mapping
from typing import Any

from tff_nlp import errors


@dataclasses.dataclass(frozen=True)
class Rules:
    """How a command's configuration may differ from the configuration of the run that it resumes.

    A configuration maps flag names to JSON values. A name with a blank in it is not a flag. Its
    value is a digest of data that flags select.

    Attributes:
      late: Names with values that are known only when the run begins.
      described: Flags that matter only through the data that they select. They may differ if all
        digests are equal, for example the path of a corpus that was moved.
      growing: Flags that may have a larger number than before. The value is an empty string, or the
        reason why the number may not grow in this run, which names another flag.
    """

    late: Collection[str] = ()
    described: Collection[str] = ()
    growing: Mapping[str, str] = dataclasses.field(default_factory=dict)


def check_same(old: Mapping[str, Any], new: Mapping[str, Any], rules: Rules, where: str) -> None:
    """Checks that a command may resume a run.

    Args:
      old: Configuration of the run, without late names.
      new: Configuration of the command, without late names.
      rules: How the two may differ.
      where: The folder as marked text: "`output_dir`=runs/a".

    Raises:
      UserError: If a flag differs that may not differ. The message names it.
    """
    new = json.loads(json.dumps(new))  # JSON makes lists of tuples, as in the saved one.
    strange = sorted(set(old) ^ set(new))
    if strange:
        raise errors.UserError(
            f"{where}: holds a run of another script or version "
            f"(only one of the two has {', '.join(f'`{name}`' for name in strange[:3])}); "
            "use another folder"
        )
    different = [name for name in new if old[name] != new[name]]
    digests = [name for name in different if " " in name]
    flags = [name for name in different if " " not in name]
    if not digests:
        flags = [name for name in flags if name not in rules.described]
    flags = [name for name in flags if not _has_grown(name, old, new, rules, where)]
    # A difference in the data is worth a message only if no flag differs.
    if flags:
        were, are = (" ".join(_flag(n, config[n]) for n in flags[:3]) for config in (old, new))
        raise errors.UserError(
            f"{where}: holds a run with {were}, not {are}; use another folder or the same flags"
        )
    if digests:
        raise errors.UserError(
            f"{where}: holds a run on other texts: those of `corpus` or `test_corpus` have "
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
    """Returns an argument with its value as on the command line, as marked text."""
    if isinstance(value, list):
        value = ",".join(str(part) for part in value)
    if isinstance(value, bool):
        value = str(value).lower()
    return errors.setting(name, "" if value is None else value)
