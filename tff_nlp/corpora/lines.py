"""From bytes to lines of text, one line at a time, so that a bad byte costs one row."""

import codecs
import io
import re
from collections.abc import Iterator, Sequence
from typing import IO

from tff_nlp.corpora.rows import ReadNotes
from tff_nlp.errors import UserError

# "surrogateescape" gives up on bytes below 128, which a wide encoding may not decode either.
_ESCAPE = "tff_nlp.escape"
# UTF-32's mark begins with that of UTF-16.
_MARKS = (
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_WIDE = ("utf-32-le", "utf-32-be", "utf-16-le", "utf-16-be")
# What the line ends of a file are judged by.
_SAMPLE = 1 << 16
_QUOTED = re.compile(rb'"[^"]*"')
# A character of several bytes as UTF-8 has it.
_MULTIBYTE = re.compile(
    rb"[\xc2-\xdf][\x80-\xbf]|\xe0[\xa0-\xbf][\x80-\xbf]|[\xe1-\xef][\x80-\xbf]{2}"
    rb"|\xf0[\x90-\xbf][\x80-\xbf]{2}|[\xf1-\xf4][\x80-\xbf]{3}"
)


def read_lines(
    stream: IO[bytes], name: str, encodings: Sequence[str], notes: ReadNotes
) -> Iterator[str]:
    r"""Yields the lines of a file, each with its line end.

    Lines end at a line feed and nowhere else: `str.splitlines` would also break texts at U+0085,
    U+2028 and form feeds. Where a file has no line feed outside of quotes, its lines end at
    carriage returns, as programs for the old Macintosh write them; they come out as line feeds. A
    byte order mark at the start is dropped. Bytes that fit none of the encodings come out as lone
    surrogates, which `is_decodable` finds.

    Args:
      stream: The bytes of the file.
      name: The file's name, for messages.
      encodings: Tried in this order on each line.
      notes: Counts lines that needed another than the first encoding, and NUL characters.

    Raises:
      UserError: Where a file in UTF-16 or the like is given several encodings (it cannot be cut
        into lines before it is decoded), or the encoding cannot begin to read it.
    """
    if not stream.seekable():  # A pipe.
        stream = io.BytesIO(stream.read())
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
    sample = stream.read(_SAMPLE).decode(encodings[0], _ESCAPE)
    stream.seek(0)
    returns = _ends_in_returns(sample.encode("utf-8", "replace"))
    # Bytes that do not fit become lone surrogates, and so one bad row.
    lines = io.TextIOWrapper(
        stream, encodings[0], errors=_ESCAPE, newline="\r" if returns else "\n"
    )
    try:
        for number, line in enumerate(lines):
            line = line.removeprefix("\ufeff") if number == 0 else line
            yield line.removesuffix("\r") + "\n" if returns and line.endswith("\r") else line
    except UnicodeError as error:  # UTF-16 wants to know its byte order.
        raise UserError(f"{name}: --encoding={encodings[0]} does not fit: {error}") from error


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
        raise UserError(f"{name}: looks like {wide.upper()}: say --encoding={wide}")
    for number, data in enumerate(_cut_at_returns(stream) if _ends_in_returns(sample) else stream):
        try:
            line = data.decode(first)
        except UnicodeDecodeError:
            line = _decode_otherwise(data, encodings, notes)
        yield line.removeprefix("\ufeff") if number == 0 else line


def _wide_encoding(sample: bytes) -> str | None:
    """Returns the encoding of a file that begins like this, if it is one of two bytes or more."""
    for mark, encoding in _MARKS:
        if sample.startswith(mark):
            return encoding
    # Without a mark: the first two or four characters are of ASCII, as in the name of a column.
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
    """Returns whether the lines of a file that begins like this end in carriage returns alone."""
    outside = _QUOTED.sub(b"", sample)
    return b"\r" in outside and b"\n" not in outside


def _cut_at_returns(stream: IO[bytes]) -> Iterator[bytes]:
    """Yields the lines of a file whose lines end in carriage returns, with line feeds instead."""
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
    # A line with characters of UTF-8 is damaged UTF-8: another encoding would read each of them as
    # several wrong ones.
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
    # Python 3.10's csv module refuses NUL, 3.11's keeps it: replace it, so that both agree.
    for line in lines:
        if "\0" in line:
            notes.null_characters += line.count("\0")
            yield line.replace("\0", " ")
        else:
            yield line
