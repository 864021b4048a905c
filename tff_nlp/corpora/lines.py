"""From bytes to lines of text, one line at a time, so that a bad byte costs one row."""

import codecs
import io
from collections.abc import Iterator, Sequence
from typing import IO

from tff_nlp.corpora.rows import ReadNotes
from tff_nlp.errors import UserError

_UTF16_MARKS = (b"\xff\xfe", b"\xfe\xff")


def read_lines(
    stream: IO[bytes], name: str, encodings: Sequence[str], notes: ReadNotes
) -> Iterator[str]:
    r"""Yields the lines of a file, each with its line end.

    Lines end at a line feed and nowhere else: `str.splitlines` would also break texts at U+0085,
    U+2028 and form feeds. A byte order mark at the start is dropped. Bytes that fit none of the
    encodings come out as lone surrogates, which `is_decodable` finds.

    Args:
      stream: The bytes of the file.
      name: The file's name, for messages.
      encodings: Tried in this order on each line.
      notes: Counts lines that needed another than the first encoding, and NUL characters.

    Raises:
      UserError: Where a file in UTF-16 or the like, which cannot be cut into lines before it is
        decoded, holds invalid bytes.
    """
    # A mark at the start is dropped here, so that the plain codec serves all lines.
    names = [codecs.lookup(encoding).name.removesuffix("-sig") for encoding in encodings]
    if any("\n".encode(encoding) != b"\n" for encoding in names):
        yield from _clean(_read_wide(stream, name, names), notes)
    else:
        yield from _clean(_read_bytewise(stream, name, names, notes), notes)


def is_decodable(text: str) -> bool:
    """Returns whether a text holds no lone surrogates: no undecodable bytes, no half emoji."""
    if text.isascii():
        return True
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def strip_line_end(line: str) -> str:
    """Returns the line without its line feed and the carriage returns before it."""
    return line.rstrip("\n").rstrip("\r") if line.endswith("\n") else line.rstrip("\r")


def _read_wide(stream: IO[bytes], name: str, encodings: Sequence[str]) -> Iterator[str]:
    if len(encodings) > 1:
        raise UserError(f"--encoding={','.join(encodings)}: a wide encoding must stand alone")
    try:
        yield from io.TextIOWrapper(stream, encoding=encodings[0], newline="\n")
    except UnicodeError as error:
        raise UserError(f"{name}: --encoding={encodings[0]} does not fit: {error}") from error


def _read_bytewise(
    stream: IO[bytes], name: str, encodings: Sequence[str], notes: ReadNotes
) -> Iterator[str]:
    first = encodings[0]
    for number, data in enumerate(stream):
        if number == 0 and data.startswith(_UTF16_MARKS) and first == "utf-8":
            raise UserError(f"{name}: starts with a UTF-16 byte order mark: say --encoding=utf-16")
        try:
            line = data.decode(first)
        except UnicodeDecodeError:
            line = _decode_otherwise(data, encodings[1:], notes)
        yield line.removeprefix("\ufeff") if number == 0 else line


def _decode_otherwise(data: bytes, encodings: Sequence[str], notes: ReadNotes) -> str:
    for encoding in encodings:
        try:
            line = data.decode(encoding)
        except UnicodeDecodeError:
            continue
        notes.other_encodings[encoding] = notes.other_encodings.get(encoding, 0) + 1
        return line
    return data.decode("ascii", "surrogateescape")


def _clean(lines: Iterator[str], notes: ReadNotes) -> Iterator[str]:
    # Python 3.10's csv module refuses NUL, 3.11's keeps it: replace it, so that both agree.
    for line in lines:
        if "\0" in line:
            notes.null_characters += line.count("\0")
            yield line.replace("\0", " ")
        else:
            yield line
