"""Fingerprints of the files that corpora are read from."""

import glob
import hashlib
import os
import pathlib
from collections.abc import Iterable

from tff_nlp import errors
from tff_nlp.corpora import files

_BLOCK = 1 << 20  # Bytes that are read at a time.


class FileFingerprints:
    """Computes fingerprints of files below a folder. An unchanged file is read only once.

    A file counts as unchanged while its size and its time of modification stay the same.
    """

    def __init__(self, folder: pathlib.Path) -> None:
        """Remembers the folder. Nothing is read yet.

        Args:
          folder: The folder of the corpora.
        """
        self._folder = folder
        self._known: dict[tuple[pathlib.Path, int, int], str] = {}

    def of(self, patterns: Iterable[str]) -> dict[str, str]:
        """Returns the fingerprint of the files of each pattern, 64 hexadecimal digits.

        One file has its SHA-256, as sha256sum prints it. Several files have the SHA-256 of the
        lines that sha256sum prints for them in the folder, in the order of their names.

        Args:
          patterns: Paths below the folder, as `corpus` takes them: with globs, for example.

        Raises:
          UserError: If a file is missing or cannot be read.
        """
        return {pattern: self._of_pattern(pattern) for pattern in patterns}

    def _of_pattern(self, pattern: str) -> str:
        # The folder's own brackets must not count as a pattern.
        found = files.find_files("corpus", f"{glob.escape(str(self._folder))}/{pattern}")
        paths = {file.path.relative_to(self._folder).as_posix(): file.path for file in found}
        if len(paths) == 1:
            return self._of_file(*paths.values())
        lines = [f"{self._of_file(path)}  {name}\n" for name, path in sorted(paths.items())]
        return hashlib.sha256("".join(lines).encode("utf-8", "surrogateescape")).hexdigest()

    def _of_file(self, path: pathlib.Path) -> str:
        try:
            with path.open("rb") as file:
                status = os.fstat(file.fileno())
                key = (path, status.st_size, status.st_mtime_ns)
                if key not in self._known:
                    digest = hashlib.sha256()
                    while block := file.read(_BLOCK):
                        digest.update(block)
                    self._known[key] = digest.hexdigest()
        except OSError as error:
            raise errors.UserError(
                f"{errors.setting('corpus', path)}: cannot be read ({error.strerror})"
            ) from error
        return self._known[key]
