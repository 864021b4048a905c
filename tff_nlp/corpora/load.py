"""Loads any corpus, or a training corpus together with its test corpus."""

import dataclasses
import pathlib
from collections.abc import Iterator, Sequence

from tff_nlp.corpora import names, overlap
from tff_nlp.corpora.assemble import assemble
from tff_nlp.corpora.files import DataFile, exists
from tff_nlp.corpora.formats import check_second_text, files_and_format
from tff_nlp.corpora.json_rows import read_json, read_json_lines
from tff_nlp.corpora.leaf import is_leaf_folder, read_leaf
from tff_nlp.corpora.plain_text import read_documents, read_text_lines
from tff_nlp.corpora.report import LoadedCorpus
from tff_nlp.corpora.reviews import read_reviews
from tff_nlp.corpora.rows import BadRow, ReadNotes, Row
from tff_nlp.corpora.source import CorpusSource
from tff_nlp.corpora.speeches import read_plays, read_speeches
from tff_nlp.corpora.synthetic import read_synthetic
from tff_nlp.corpora.tables import read_table
from tff_nlp.corpora.tfds_names import read_tfds
from tff_nlp.corpora.vader import read_vader
from tff_nlp.errors import UserError, setting
from tff_nlp.printable import printable

# Format -> reader. A reader takes a file, the flags and the notes, and yields rows and bad rows. It
# adds its remarks about the reading to the notes.
_READERS = {
    "jsonl": read_json_lines,
    "json": read_json,
    "leaf": read_leaf,
    "lines": read_text_lines,
    "documents": read_documents,
    "reviews": read_reviews,
    "speeches": read_speeches,
    "plays": read_plays,
}
# Formats that always give the author of a text.
_WITH_CLIENTS = ("leaf", "speeches", "plays")
_NAMED_READERS = {"synthetic": read_synthetic, "tfds": read_tfds, "vader": read_vader}


def load_corpus(source: CorpusSource, label_names: Sequence[str] | None = None) -> LoadedCorpus:
    """Returns the corpus that the flags describe, and a report about the reading.

    Args:
      source: The values of the flags.
      label_names: The label names of the training corpus, in their order, if this is its test
        corpus.

    Raises:
      UserError: If a flag, a file or a row is wrong. The message names it.
    """
    notes = ReadNotes()
    _check_label_flags(source)
    known = names.find(source.path)
    if known is not None:
        check_second_text(source, known.kind)
        source = names.fill_in(source, known)
        return assemble(
            _NAMED_READERS[known.kind](source, notes),
            source,
            notes,
            name=known.title or source.path,
            files=[f"{source.path} ({source.split})"],
            format_name=known.kind,
            with_clients=bool(source.client_column),
            label_names=label_names,
            synthetic=known.kind == "synthetic",
        )
    files, format_name = files_and_format(source)
    _check_label_file(source, format_name)
    check_second_text(source, format_name)
    return assemble(
        _read_files(files, source, format_name, notes),
        source,
        notes,
        name=_title(source.path),
        files=[str(file) for file in files],
        format_name=format_name,
        with_clients=bool(source.client_column) or format_name in _WITH_CLIENTS,
        label_names=label_names,
    )


@dataclasses.dataclass(frozen=True)
class TrainAndTest:
    """A training and a test corpus that share label names.

    Attributes:
      train: The training corpus. Its report counts the rows before `overlap` was removed.
      test: The test corpus.
      origin: A description of where the test corpus came from.
      overlap: A report on texts that are in both corpora.
    """

    train: LoadedCorpus
    test: LoadedCorpus
    origin: str
    overlap: overlap.OverlapReport


def load_train_and_test(
    source: CorpusSource,
    test_source: CorpusSource | None = None,
    *,
    test_fraction: float = 0.2,
    seed: int = 0,
    keep_overlap: bool = False,
) -> TrainAndTest:
    """Returns a training corpus and its test corpus.

    The test corpus is `test_source` if it is given. Otherwise it is the test part of the source, if
    the source has one (LEAF folders and names in `names.NAMES`). Otherwise it is a random part of
    the training corpus.

    Args:
      source: The training corpus.
      test_source: The test corpus, or None.
      test_fraction: Size of the random part, as a fraction of the rows.
      seed: Seed of the random part.
      keep_overlap: Whether texts that are also in the test corpus stay in the
        training corpus.

    Raises:
      UserError: If a corpus cannot be loaded, or if removing the overlap would remove all training
        texts or all texts of a label.
    """
    train = load_corpus(source)
    # If the test source itself has several parts, use its test part.
    test_source = _test_part(source if test_source is None else test_source) or test_source
    if test_source is not None:
        test = load_corpus(test_source, train.corpus.label_names)
        origin = setting(test_source.corpus_flag, test_source.path)
        if test_source.split:
            origin += f", split {test_source.split}"
    else:
        kept, held_out = overlap.split(train.corpus, test_fraction, seed)
        test = LoadedCorpus(held_out, train.report)
        train = LoadedCorpus(kept, train.report)
        origin = f"a random {test_fraction:.0%} of {setting(source.corpus_flag, source.path)}"
    clean, report = overlap.drop_overlap(train.corpus, test.corpus, keep=keep_overlap)
    return TrainAndTest(LoadedCorpus(clean, train.report), test, origin, report)


def _test_part(source: CorpusSource) -> CorpusSource | None:
    """Returns the test part of a source that holds several parts, or None."""
    known = names.find(source.path)
    if source.split:
        return None
    if known is not None:
        return dataclasses.replace(source, split=known.test_split) if known.test_split else None
    if is_leaf_folder(pathlib.Path(source.path)):
        return dataclasses.replace(source, split="test")
    return None


def _check_label_flags(source: CorpusSource) -> None:
    if source.labelled:
        return
    for flag, value in (
        ("label_column", source.label_column),
        ("label_map", source.label_map),
        (source.label_file_flag, source.label_file),
    ):
        if value:
            raise UserError(f"{setting(flag, value)}: no labels are read here; leave the flag out")


def _check_label_file(source: CorpusSource, format_name: str) -> None:
    if source.label_file and format_name not in ("lines", "documents"):
        raise UserError(
            f"{setting(source.label_file_flag, source.label_file)}: only `format`=lines has labels "
            f"in a file beside the texts; this is {format_name}"
        )


def _read_files(
    files: Sequence[DataFile], source: CorpusSource, format_name: str, notes: ReadNotes
) -> Iterator[Row | BadRow]:
    for file in files:
        if format_name in ("csv", "tsv"):
            yield from read_table(file, source, format_name, notes)
        else:
            yield from _READERS[format_name](file, source, notes)


def _title(path: str) -> str:
    """Returns the last two parts of each path, without unprintable characters."""
    parts = [path]
    if not exists(pathlib.Path(path)):
        parts = [part.strip() for part in path.split(",") if part.strip()]
    title = ", ".join("/".join(pathlib.PurePath(part).parts[-2:]) for part in parts)
    return printable(title, 80)
