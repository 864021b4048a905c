"""Finds the files that a corpus flag names: globs, comma lists, gzip files and members of a zip."""

import contextlib
import dataclasses
import fnmatch
import glob
import gzip
import io
import pathlib
import sys
import zipfile
import zlib
from collections.abc import Iterator
from typing import IO, Any, cast

from tff_nlp.errors import UserError, setting, verbatim

# Compressed texts have a fifth to a twentieth of their size. A file that unpacks to more than this
# many times its size, and to more than this many bytes, was made to fill the memory.
_LARGEST_RATIO, _LARGEST_SUSPECT = 200, 100_000_000


@dataclasses.dataclass(frozen=True)
class DataFile:
    """One file of texts, perhaps compressed or inside a zip.

    Attributes:
      path: The file on disk.
      member: The file inside it, if `path` is a zip.
      pattern: Index of the comma-separated path that named it, counted from 0.
      flag: The flag that named it, for messages.
    """

    path: pathlib.Path
    member: str = ""
    pattern: int = 0
    flag: str = "corpus"

    def __str__(self) -> str:
        return f"{self.path}/{self.member}" if self.member else str(self.path)

    def __format__(self, spec: str) -> str:
        """Returns the name as a part of a marked text. F-strings with files are messages."""
        return format(verbatim(self), spec)

    @property
    def inner_path(self) -> pathlib.PurePath:
        """Path of the text file: the path inside the zip, without `.gz`."""
        inner = pathlib.PurePosixPath(self.member) if self.member else self.path
        return inner.with_suffix("") if inner.suffix.lower() == ".gz" else inner

    @contextlib.contextmanager
    def open(self) -> Iterator[IO[bytes]]:
        """Yields the uncompressed bytes of the file.

        Raises:
          UserError: If the file cannot be opened, or if it is damaged. Damage may be found only
            while the file is being read.
        """
        try:
            with contextlib.ExitStack() as stack:
                packed = False
                if self.member:
                    archive = stack.enter_context(zipfile.ZipFile(self.path))
                    stream = stack.enter_context(archive.open(self.member))
                    size, packed = archive.getinfo(self.member).compress_size, True
                else:
                    stream = stack.enter_context(self.path.open("rb"))
                    size = self.path.stat().st_size
                name = self.member or self.path.name
                if name.lower().endswith(".gz"):
                    # GzipFile reads like a binary file; only its declared type differs.
                    unzipped = stack.enter_context(gzip.GzipFile(fileobj=stream))
                    stream, packed = cast(IO[bytes], unzipped), True
                if packed:
                    limited = io.BufferedReader(_Unpacked(stream, size, setting(self.flag, self)))
                    stream = cast(IO[bytes], stack.enter_context(limited))
                yield stream
        except (OSError, EOFError, zlib.error, zipfile.BadZipFile, NotImplementedError) as error:
            raise UserError(
                f"{setting(self.flag, self)}: cannot be read: {_reason(error)}"
            ) from error


class _Unpacked(io.RawIOBase):
    """The uncompressed bytes of a file. Reading fails if there are far more than texts can give.

    Args:
      stream: The uncompressed bytes.
      size: Number of compressed bytes.
      name: The flag and the file, for the message.
    """

    def __init__(self, stream: IO[bytes], size: int, name: str) -> None:
        super().__init__()
        self._stream, self._name = stream, name
        self._left = max(_LARGEST_RATIO * size, _LARGEST_SUSPECT)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        data = self._stream.read(len(buffer))
        self._left -= len(data)
        if self._left < 0:
            raise UserError(
                f"{self._name}: unpacks to more than {_LARGEST_RATIO} times its size; if these "
                "really are texts, unpack the file first"
            )
        buffer[: len(data)] = data
        return len(data)


class StandardInput(DataFile):
    """The standard input: what is piped into the program."""

    def __str__(self) -> str:
        return "(standard input)"

    @contextlib.contextmanager
    def open(self) -> Iterator[IO[bytes]]:
        """Yields the bytes. They can be read only once."""
        yield io.BytesIO(sys.stdin.buffer.read())


def find_files(flag: str, paths: str) -> tuple[DataFile, ...]:
    """Returns the files that a flag names. Files that match a glob are sorted by name.

    Args:
      flag: The flag, for messages.
      paths: A path or glob, or several separated by commas. If a file with exactly this name
        exists, it is taken, even if the name has a comma or a glob character.

    Raises:
      UserError: If a path matches nothing or is a folder, or if a zip file cannot be read.
    """
    parts = [paths]
    if not exists(pathlib.Path(paths)):
        parts = [part.strip() for part in paths.split(",") if part.strip()]
    found: dict[tuple[pathlib.Path, str], DataFile] = {}
    for pattern, part in enumerate(parts):
        for file in _match(flag, part, pattern):
            found.setdefault((file.path, file.member), file)
    return tuple(found.values())


def expanded(path: str) -> pathlib.Path:
    """Returns the path with a leading ~ replaced by the home directory, if there is one."""
    try:
        return pathlib.Path(path).expanduser()
    except RuntimeError:
        return pathlib.Path(path)


def exists(path: pathlib.Path) -> bool:
    """Returns whether a file or folder exists. A name that no file can have gives False.

    Several paths with commas between them are often longer than a file name may be.
    """
    try:
        return path.exists()
    except OSError:
        return False


def _match(flag: str, part: str, pattern: int) -> list[DataFile]:
    path = expanded(part)
    if not exists(path):
        outer, zip_suffix, inner = part.partition(".zip/")
        if zip_suffix and expanded(outer + ".zip").is_file():
            return _members(flag, expanded(outer + ".zip"), inner, pattern)
        matches = sorted(glob.glob(str(path), recursive=True))  # noqa: PTH207 (absolute globs too)
        files = [match for match in map(pathlib.Path, matches) if match.is_file()]
        if not files:
            raise UserError(f"{setting(flag, part)}: no such file, or no file matches")
        return [file for match in files for file in _members_or_file(flag, match, pattern)]
    if path.is_dir():
        raise UserError(
            f"{setting(flag, part)}: is a folder; name its files, for example "
            f"{verbatim(part)}/*.txt"
        )
    return _members_or_file(flag, path, pattern)


def _members_or_file(flag: str, path: pathlib.Path, pattern: int) -> list[DataFile]:
    if path.suffix.lower() == ".zip":
        return _members(flag, path, "", pattern)
    return [DataFile(path, "", pattern, flag)]


def _members(flag: str, path: pathlib.Path, wanted: str, pattern: int) -> list[DataFile]:
    """Returns the members of a zip that match a glob. Without a glob, returns the only member."""
    try:
        with zipfile.ZipFile(path) as archive:
            members = [info for info in archive.infolist() if not info.is_dir()]
    except (OSError, zipfile.BadZipFile) as error:
        raise UserError(f"{setting(flag, path)}: cannot be read: {_reason(error)}") from error
    # macOS adds copies of its file attributes, which are not data.
    members = [info for info in members if not info.filename.startswith("__MACOSX/")]
    if any(info.flag_bits & 1 for info in members):
        raise UserError(f"{setting(flag, path)}: is encrypted; unpack it first")
    names = [info.filename for info in members]
    listing = f"it holds {', '.join(names[:10])}{', ...' if len(names) > 10 else ''}"
    if not wanted:
        if len(names) != 1:
            raise UserError(
                f"{setting(flag, path)}: holds {len(names)} files; say which as "
                f"{verbatim(path)}/NAME: {listing}"
            )
        chosen = names
    elif wanted in names:
        chosen = [wanted]
    else:
        chosen = sorted(name for name in names if fnmatch.fnmatchcase(name, wanted))
        if not chosen:
            raise UserError(
                f"{setting(flag, f'{path}/{wanted}')}: no such file in the zip; {listing}"
            )
    return [DataFile(path, name, pattern, flag) for name in chosen]


def _reason(error: BaseException) -> str:
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return verbatim(error) or type(error).__name__
