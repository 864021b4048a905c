"""Names, versions and folders of the models to serve. TensorFlow is not needed, so this is fast."""

import dataclasses
import pathlib
import re
from collections.abc import Iterable

from tff_nlp.errors import UserError, setting, verbatim
from tff_nlp.serving import model_fingerprint, model_folder

# NAME=FOLDER or NAME:VERSION=FOLDER. A folder alone is named by its last part.
_NAMED = re.compile(r"([A-Za-z0-9][A-Za-z0-9._-]{0,63})(?::([0-9]{1,9}))?=(.+)", re.DOTALL)
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


@dataclasses.dataclass(frozen=True)
class ModelSpec:
    """One version of a model.

    Attributes:
      name: Name in addresses and answers.
      version: Number of the version, 1 or more. The highest one is the default.
      folder: Folder of the exported model.
      fingerprint: Fingerprint of the folder's files, see `model_fingerprint`.
    """

    name: str
    version: int
    folder: pathlib.Path
    fingerprint: str

    def __str__(self) -> str:
        return f"{self.name} version {self.version}"


def parse(entries: Iterable[str], flag: str) -> tuple[ModelSpec, ...]:
    """Returns the models that entries name, in their order.

    Args:
      entries: Each is NAME=FOLDER, NAME:VERSION=FOLDER or FOLDER. The folder is a run's, or an
        exported model's. A name without a version gets 1, or the highest version before it plus 1.
      flag: Flag that named them, for messages.

    Raises:
      UserError: If there is no entry, an entry cannot be read, a version is named twice, or a
        folder has no finished model.
    """
    specs: list[ModelSpec] = []
    for entry in entries:
        name, version, path = _split(entry, flag)
        folder = model_folder.of_run(pathlib.Path(path), flag)
        model_folder.check_kind(folder, flag, generates=False)
        model_fingerprint.check(folder, flag)
        others = [spec.version for spec in specs if spec.name == name]
        version = version or max(others, default=0) + 1
        if version in others:
            raise UserError(f"{setting(flag, entry)}: version {version} of {name} is named twice")
        specs.append(ModelSpec(name, version, folder, model_fingerprint.of(folder)))
    if not specs:
        raise UserError(f"`{flag}` is needed: the folder of a run, or NAME=FOLDER")
    return tuple(specs)


def read(path: pathlib.Path, flag: str) -> list[str]:
    """Returns the entries of a file with one model a line. Lines that start with # are comments.

    Raises:
      UserError: If the file cannot be read or has no entry.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "not UTF-8 text"
        raise UserError(f"{setting(flag, path)}: cannot be read ({verbatim(reason)})") from error
    entries = [line.strip() for line in lines if line.strip() and not line.strip().startswith("#")]
    if not entries:
        raise UserError(f"{setting(flag, path)}: names no model")
    return entries


def _split(entry: str, flag: str) -> tuple[str, int, str]:
    """Returns an entry's name, its version (0 if it names none) and its folder."""
    named = _NAMED.fullmatch(entry)
    if named is not None:
        name, version, path = named.groups()
        if version is not None and int(version) == 0:
            raise UserError(f"{setting(flag, entry)}: versions start at 1")
        return name, int(version or 0), path
    name = pathlib.Path(entry).resolve().name
    if "=" in entry or not _NAME.fullmatch(name):
        raise UserError(
            f"{setting(flag, entry)}: write NAME=FOLDER or NAME:VERSION=FOLDER, with a name of "
            "letters, digits, dots, hyphens and underscores"
        )
    return name, 0, entry
