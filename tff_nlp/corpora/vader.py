"""Reads the sentences that VADER was evaluated on. They come from four sources.

Twenty people rated each sentence (Hutto and Gilbert 2014, "VADER: A Parsimonious Rule-based Model
for Sentiment Analysis of Social Media Text"). The sentences are not part of this package. They are
fetched from the source distribution of vaderSentiment 0.5 (MIT licence), and their checksum is
verified at every use.
"""

import hashlib
import io
import pathlib
import tarfile
import zipfile
from collections.abc import Iterator

from tff_nlp import durable_files
from tff_nlp.corpora import package_index
from tff_nlp.corpora.rows import COLUMN_COUNT, MALFORMED_RECORD, BadRow, ReadNotes, Row
from tff_nlp.corpora.source import CorpusSource
from tff_nlp.errors import UserError, setting, verbatim

NAME = "vader"
NEGATIVE, NEUTRAL, POSITIVE = LABEL_NAMES = ("negative", "neutral", "positive")

_SDIST = package_index.PinnedFile(
    "vadersentiment",
    "vaderSentiment-0.5.zip",
    "5d97c37f3ef6e24eef331122e055dbedafeb6a56abfce0608b326701116ea49a",
)
_ARCHIVE = "hutto_ICWSM_2014.tar.gz"
_ARCHIVE_SHA256 = "d5bb07d87474b3eb8d30b4deccbc23f19d742a6c5718fbacc65485b70b95c5fa"
# File -> source of its sentences.
_SOURCES = {
    "tweets_GroundTruth.txt": "tweets",
    "amazonReviewSnippets_GroundTruth.txt": "amazon",
    "movieReviewSnippets_GroundTruth.txt": "film",
    "nytEditorialSnippets_GroundTruth.txt": "nyt",
}


def is_stored(folder: pathlib.Path) -> bool:
    """Returns whether a folder has the ratings, undamaged."""
    return _stored(folder) is not None


def fetch(folder: pathlib.Path) -> None:
    """Fetches the ratings from the package index into a folder, unless they are there.

    Raises:
      UserError: If no index provides them.
      WriteError: If they cannot be written.
    """
    if is_stored(folder):
        return
    try:
        sdist = package_index.fetch(_SDIST)
    except package_index.NotFetchedError as error:
        raise UserError(
            f"`corpus`=vader: {_SDIST.name} cannot be fetched from the package index "
            f"({verbatim(error)}); `corpus`=synthetic needs none"
        ) from error
    with zipfile.ZipFile(io.BytesIO(sdist)) as archive:
        [member] = [name for name in archive.namelist() if name.endswith(f"/{_ARCHIVE}")]
        content = archive.read(member)
    path = _path(folder)
    with durable_files.writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
    with durable_files.replacing(path) as file:
        file.write(content)


def read_vader(source: CorpusSource, notes: ReadNotes) -> Iterator[Row | BadRow]:
    """Yields the sentences, labelled by their mean rating.

    Args:
      source: The flags. `data_dir` is the folder of the ratings; they are fetched if they are not
        there. `negative_at_most` and `positive_at_least` are the bounds of the labels.
      notes: Receives the label names and the bounds.

    Raises:
      UserError: If a column or a split is unknown, or if the ratings cannot be fetched.
      WriteError: If the ratings cannot be written.
    """
    for flag, value, only in (
        ("text_column", source.text_column, "text"),
        ("label_column", source.label_column, "label"),
        ("client_column", source.client_column, "source"),
        ("split", source.split, "train"),
    ):
        if value != only:
            raise UserError(f"{setting(flag, value)}: `{source.corpus_flag}`=vader has only {only}")
    folder = pathlib.Path(source.data_dir)
    fetch(folder)
    content = _stored(folder)
    if content is None:
        raise UserError(f"`corpus`=vader: {_path(folder)} was changed by another program")
    notes.declared_labels = LABEL_NAMES
    notes.neutral = (
        f"mean ratings between {source.negative_at_most:g} and {source.positive_at_least:g} are "
        "neutral (`negative_at_most`, `positive_at_least`)"
    )
    with tarfile.open(fileobj=io.BytesIO(content)) as archive:
        for member in archive:
            name = pathlib.PurePosixPath(member.name).name
            file = archive.extractfile(member)
            if name in _SOURCES and file is not None:
                for number, line in enumerate(io.TextIOWrapper(file, encoding="utf-8"), 1):
                    yield _row(name, f"line {number}", line, source)


def _row(file: str, place: str, line: str, source: CorpusSource) -> Row | BadRow:
    parts = line.rstrip("\r\n").split("\t")
    if len(parts) != 3:
        return BadRow(file, place, COLUMN_COUNT, f"{len(parts)} instead of id, rating and text")
    _, rating, text = parts
    try:
        label = _label(float(rating), source)
    except ValueError:
        return BadRow(file, place, MALFORMED_RECORD, f"the rating '{rating}' is not a number")
    return Row(file, place, text.strip(), label, _SOURCES[file])


def _label(rating: float, source: CorpusSource) -> str:
    if rating <= source.negative_at_most:
        return NEGATIVE
    return POSITIVE if rating >= source.positive_at_least else NEUTRAL


def _path(folder: pathlib.Path) -> pathlib.Path:
    return folder / "vader" / _ARCHIVE


def _stored(folder: pathlib.Path) -> bytes | None:
    """Returns the archive of the ratings, or None if it is missing or damaged."""
    try:
        content = _path(folder).read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise UserError(f"{_path(folder)}: cannot be read ({error.strerror})") from error
    return content if hashlib.sha256(content).hexdigest() == _ARCHIVE_SHA256 else None
