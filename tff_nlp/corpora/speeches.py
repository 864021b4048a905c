"""Reads speeches of plays or talks. Each speaker is a client. There are no labels."""

import xml.etree.ElementTree
from collections.abc import Iterator

from tff_nlp.corpora import rows
from tff_nlp.corpora.files import DataFile
from tff_nlp.corpora.lines import read_lines
from tff_nlp.corpora.rows import BadRow, ReadNotes, Row
from tff_nlp.corpora.source import CorpusSource
from tff_nlp.errors import UserError, setting


def read_speeches(file: DataFile, source: CorpusSource, notes: ReadNotes) -> Iterator[Row | BadRow]:
    """Yields the speeches of a text file. The client is the speaker.

    A speech is a line "Speaker:" and the lines below it, up to a blank line.

    Raises:
      UserError: If labels or columns are requested.
    """
    _refuse_flags(file, source)
    held: list[str] = []
    start = 0
    with file.open() as stream:
        lines = read_lines(stream, str(file), source.encodings, notes)
        for number, line in enumerate(lines, start=1):
            if line.strip():
                start = start if held else number
                held.append(line.strip())
            elif held:
                yield _speech(file, start, held)
                held = []
    if held:
        yield _speech(file, start, held)


def _speech(file: DataFile, start: int, lines: list[str]) -> Row | BadRow:
    place = f"line {start}"
    speaker = lines[0].removesuffix(":").strip()
    if not lines[0].endswith(":") or not speaker:
        detail = "a speech begins with a line of the form 'Speaker:'"
        return BadRow(str(file), place, rows.MALFORMED_RECORD, detail)
    return Row(str(file), place, "\n".join(lines[1:]), None, speaker)


def read_plays(file: DataFile, source: CorpusSource, notes: ReadNotes) -> Iterator[Row | BadRow]:
    """Yields the speeches of a play in Jon Bosak's XML markup. The client is the speaker.

    A SPEECH has SPEAKERs and LINEs. The names of several speakers are joined. Stage directions are
    left out.

    Raises:
      UserError: If labels or columns are requested, or if the file is not such XML.
    """
    _refuse_flags(file, source)
    number = 0
    with file.open() as stream:
        try:
            for _, element in xml.etree.ElementTree.iterparse(stream):
                if element.tag == "SPEECH":
                    number += 1
                    lines = [_own_text(line) for line in element.iter("LINE")]
                    speakers = filter(None, map(_own_text, element.iter("SPEAKER")))
                    text = "\n".join(filter(None, lines))
                    yield Row(str(file), f"speech {number}", text, None, " and ".join(speakers))
                    element.clear()
        except UserError:
            raise
        # An encoding that Python's parser does not know raises one of the last two errors.
        except (xml.etree.ElementTree.ParseError, LookupError, ValueError) as error:
            raise UserError(f"{file}: not XML: {error}") from error
    if not number:
        raise UserError(f"{file}: `format`=plays: it has no SPEECH")


def _own_text(element: xml.etree.ElementTree.Element) -> str:
    """Returns an element's text with single blanks, without the text of elements inside it."""
    parts = [element.text, *(child.tail for child in element)]
    return " ".join(" ".join(filter(None, parts)).split())


def _refuse_flags(file: DataFile, source: CorpusSource) -> None:
    if source.labelled:
        raise UserError(f"{file}: speeches have no labels; only a language model can be trained")
    for flag, value in (
        ("text_column", source.text_column),
        ("client_column", source.client_column),
    ):
        if value:
            raise UserError(
                f"{setting(flag, value)}: {file} has no columns; its clients are the speakers"
            )
