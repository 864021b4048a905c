"""Decodes bytes to lines of text, one line at a time, so that a bad byte costs only one row."""

import codecs
import io
import re
from collections.abc import Iterator, Sequence
from typing import IO

from tff_nlp.corpora.rows import ReadNotes
from tff_nlp.errors import UserError, setting

# Python's "surrogateescape" cannot escape bytes below 128. A wide encoding may fail on them too.
_ESCAPE = "tff_nlp.escape"
# UTF-32 comes first, because its mark begins with the mark of UTF-16.
_MARKS = (
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_WIDE = ("utf-32-le", "utf-32-be", "utf-16-le", "utf-16-be")
# Number of bytes at the start of a file that show its line ends.
_SAMPLE = 1 << 16
_QUOTED = re.compile(rb'"[^"]*"')
# A UTF-8 character of several bytes.
_MULTIBYTE = re.compile(
    rb"[\xc2-\xdf][\x80-\xbf]|\xe0[\xa0-\xbf][\x80-\xbf]|[\xe1-\xef][\x80-\xbf]{2}"
    rb"|\xf0[\x90-\xbf][\x80-\xbf]{2}|[\xf1-\xf4][\x80-\xbf]{3}"
)


def read_lines(
    stream: IO[bytes], name: str, encodings: Sequence[str], notes: ReadNotes
) -> Iterator[str]:
    r"""Yields the lines of a file, each with its line end.

    Only a line feed ends a line. (`str.splitlines` would also break texts at U+0085, U+2028 and
    form feeds.) If a file has no line feed outside of quotes, its lines end at carriage returns, as
    programs for the old Macintosh write them; they are replaced by line feeds. A byte order mark at
    the start is dropped. Bytes that fit none of the encodings become lone surrogates, which
    `is_decodable` finds.

    Args:
      stream: The bytes of the file.
      name: The file's name, for messages.
      encodings: The encodings to try on each line, in this order.
      notes: Counts NUL characters, and lines that the first encoding cannot decode.

    Raises:
      UserError: If there are several encodings and one is wide, such as UTF-16, because a wide
        encoding must be decoded before the file is cut into lines. Or if the encoding does not fit
        the file.
    """
    if not stream.seekable():  # A pipe.
        stream = io.BytesIO(stream.read())
    # Byte order marks are dropped here, so that the plain codec fits all lines.
    names = [codecs.lookup(encoding).name.removesuffix("-sig") for encoding in encodings]
    if any("\n".encode(encoding) != b"\n" for encoding in names):
        yield from _clean(_read_wide(stream, name, names), notes)
    else:
        yield from _clean(_read_bytewise(stream, name, names, notes), notes)


def is_decodable(text: str) -> bool:
    """Returns whether a text is free of lone surrogates (undecodable bytes or half an emoji)."""
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
        raise UserError(
            f"{setting('encoding', ','.join(encodings))}: a wide encoding must stand alone"
        )
    sample = stream.read(_SAMPLE).decode(encodings[0], _ESCAPE)
    stream.seek(0)
    returns = _ends_in_returns(sample.encode("utf-8", "replace"))
    # Bytes that do not fit become lone surrogates, so only their row is bad.
    lines = io.TextIOWrapper(
        stream, encodings[0], errors=_ESCAPE, newline="\r" if returns else "\n"
    )
    try:
        for number, line in enumerate(lines):
            line = line.removeprefix("\ufeff") if number == 0 else line
            yield line.removesuffix("\r") + "\n" if returns and line.endswith("\r") else line
    except UnicodeError as error:  # UTF-16 without a byte order mark, for example.
        raise UserError(
            f"{name}: {setting('encoding', encodings[0])} does not fit: {error}"
        ) from error


def _escape(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeDecodeError):
        raise error
    wrong = error.object[error.start : error.end]
    return "".join(chr(0xDC00 + byte) for byte in wrong), error.end


codecs.register_error(_ESCAPE, _escape)


def _read_bytewise(
    stream: IO[bytes], name: str, encodings: Sequence[str], notes: ReadNotes
) -> Iterator[str]:
    first = encodings[0]
    sample = stream.read(_SAMPLE)
    stream.seek(0)
    wide = _wide_encoding(sample)
    if wide is not None and first == "utf-8":
        raise UserError(f"{name}: looks like {wide.upper()}: say {setting('encoding', wide)}")
    for number, data in enumerate(_cut_at_returns(stream) if _ends_in_returns(sample) else stream):
        try:
            line = data.decode(first)
        except UnicodeDecodeError:
            line = _decode_otherwise(data, encodings, notes)
        yield line.removeprefix("\ufeff") if number == 0 else line


def _wide_encoding(sample: bytes) -> str | None:
    """Returns the wide encoding (two or more bytes per character) of a file with this start."""
    for mark, encoding in _MARKS:
        if sample.startswith(mark):
            return encoding
    # Without a mark: the first two or four characters are ASCII, as in the name of a column.
    start = sample[:8]
    for encoding in _WIDE if b"\0" in start else ():
        try:
            text = start.decode(encoding)
        except UnicodeDecodeError:
            continue
        if text.isascii() and text.isprintable():
            return encoding
    return None


def _ends_in_returns(sample: bytes) -> bool:
    """Returns whether a file with this start ends its lines with carriage returns alone."""
    outside = _QUOTED.sub(b"", sample)
    return b"\r" in outside and b"\n" not in outside


def _cut_at_returns(stream: IO[bytes]) -> Iterator[bytes]:
    """Yields the lines of a file with carriage returns as line ends, and replaces these."""
    held: list[bytes] = []
    while block := stream.read(_SAMPLE):
        first, *others = block.split(b"\r")
        held.append(first)
        for part in others:
            yield b"".join(held) + b"\n"
            held = [part]
    last = b"".join(held)
    if last:
        yield last


def _decode_otherwise(data: bytes, encodings: Sequence[str], notes: ReadNotes) -> str:
    # A line that contains UTF-8 characters is damaged UTF-8. Another encoding would decode each of
    # them as several wrong characters.
    if encodings[0] != "utf-8" or not _MULTIBYTE.search(data):
        for encoding in encodings[1:]:
            try:
                line = data.decode(encoding)
            except UnicodeDecodeError:
                continue
            notes.other_encodings[encoding] = notes.other_encodings.get(encoding, 0) + 1
            return line
    return data.decode("ascii", "surrogateescape")


def _clean(lines: Iterator[str], notes: ReadNotes) -> Iterator[str]:
    # The csv module refuses NUL in Python 3.10 and keeps it in 3.11. Without NUL, both agree.
    for line in lines:
        if "\0" in line:
            notes.null_characters += line.count("\0")
            yield line.replace("\0", " ")
        else:
            yield line
