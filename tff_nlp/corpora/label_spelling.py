"""Finds labels that may be different spellings of one label."""

import difflib
import json
import shlex
from collections.abc import Mapping, Sequence

import numpy as np

from tff_nlp.corpora.overlap import normalize
from tff_nlp.errors import setting, verbatim
from tff_nlp.printable import printable

_SHOWN = 10
_LONGEST = 40  # Maximum number of characters of a name in a list.


def spelling_notes(names: Sequence[str], counts: np.ndarray) -> list[str]:
    """Returns sentences for the user about label names that may differ by accident.

    Args:
      names: The label names as in the file.
      counts: int64[labels], the number of examples with each label.

    Returns:
      A sentence about labels that differ only in case or blanks, one about labels of a single row,
      and one with a `label_map` that joins them. Empty if nothing looks wrong.
    """
    alike = _alike(names, counts)
    single = [name for name, count in zip(names, counts, strict=True) if count == 1]
    said = []
    if alike:
        groups: dict[str, list[str]] = {}
        for name, main in alike.items():
            groups.setdefault(main, [main]).append(name)
        listed = "; ".join(
            ", ".join(verbatim(printable(name, _LONGEST)) for name in group)
            for group in list(groups.values())[:_SHOWN]
        )
        said.append(f"labels that differ in case or blanks only count as different: {listed}")
    if single:
        said.append(f"labels with one row only: {_listed(single)}")
    joined = alike | _near(names, [name for name in single if name not in alike], alike)
    if joined:
        said.append(f"to join them: {_label_map({name: joined.get(name, name) for name in names})}")
    return said


def _alike(names: Sequence[str], counts: np.ndarray) -> dict[str, str]:
    """Returns a mapping from each rarer spelling of a name to the most frequent spelling."""
    main: dict[str, str] = {}
    # If several spellings are equally frequent, the one in small letters comes first.
    ranked = sorted(
        zip(-counts, names, strict=True), key=lambda one: (one[0], not one[1].islower())
    )
    for _, name in ranked:
        main.setdefault(normalize(name), name)
    return {name: main[normalize(name)] for name in names if main[normalize(name)] != name}


def _near(names: Sequence[str], single: Sequence[str], alike: Mapping[str, str]) -> dict[str, str]:
    """Returns a mapping from labels of a single row to the similar name that was probably meant."""
    found = {}
    others = {normalize(name): name for name in names if name not in single and name not in alike}
    for name in single:
        # Numbers that differ in one digit are different numbers.
        if any(character.isdigit() for character in name):
            continue
        near = difflib.get_close_matches(normalize(name), others, n=1, cutoff=0.6)
        if near:
            found[name] = others[near[0]]
    return found


def _label_map(mapping: Mapping[str, str]) -> str:
    if any(set(name) & set(",:") or name.startswith("{") for name in mapping):
        value = json.dumps(dict(mapping), ensure_ascii=False)
    else:
        value = ",".join(f"{old}:{new}" for old, new in mapping.items())
    return setting("label_map", shlex.quote(value))


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return f"{', '.join(verbatim(printable(name, _LONGEST)) for name in names[:_SHOWN])}{more}"
