"""Reads data sets of TensorFlow Datasets by name."""

from collections.abc import Iterator
from typing import Any

from tff_nlp.corpora.columns import split_text_columns
from tff_nlp.corpora.rows import BadRow, ReadNotes, Row
from tff_nlp.corpora.source import CorpusSource
from tff_nlp.errors import UserError, setting, verbatim

_BATCH = 1024


def read_tfds(source: CorpusSource, notes: ReadNotes) -> Iterator[Row | BadRow]:
    """Yields the rows of one split, in the data set's own order.

    `text_column`, `label_column` and `client_column` are names of features. A label becomes
    its name if the feature declares names, else its number. A negative label is missing.

    Args:
      source: The flags. The path is a TFDS name, with or without `tfds:`. The columns are filled
        in.
      notes: Receives the label names that the data set declares.

    Raises:
      UserError: If tensorflow-datasets is missing, if the data set, the split or a feature is
        unknown, or if the data cannot be prepared.
    """
    name = source.path.removeprefix("tfds:")
    builder = _builder(name, source)
    features = builder.info.features
    texts = split_text_columns(source.text_column)
    _check_feature("text_column", texts[0] if texts else "", name, features)
    for column in texts[1:]:
        _check_feature("text_column", column, name, features)
    wanted = list(texts)
    if source.labelled:
        _check_feature("label_column", source.label_column, name, features)
        wanted.append(source.label_column)
        declared = getattr(features[source.label_column], "names", None)
        notes.declared_labels = tuple(declared or ())
    if source.client_column:
        _check_feature("client_column", source.client_column, name, features)
        wanted.append(source.client_column)
    # Features that are not read are dropped, so that they are not copied.
    dataset = _prepared(builder, name, source).map(lambda row: {key: row[key] for key in wanted})
    number = 0
    for batch in dataset.batch(_BATCH).as_numpy_iterator():
        columns = {key: _as_texts(batch[key]) for key in wanted}
        labels: list[str | None] = [None] * len(columns[wanted[0]])
        if source.labelled:
            labels = _label_texts(batch[source.label_column], notes.declared_labels)
        for index, label in enumerate(labels):
            text = " ".join(filter(None, (columns[key][index] for key in texts)))
            client = columns[source.client_column][index] if source.client_column else None
            yield Row(f"{name}/{source.split}", f"example {number}", text, label, client)
            number += 1


def _builder(name: str, source: CorpusSource) -> Any:
    flag = setting(source.corpus_flag, source.path)
    try:
        import tensorflow_datasets as tfds
    except ImportError as error:
        raise UserError(
            f"{flag}: tensorflow-datasets cannot be imported ({_first_line(error)}); install the"
            " 'tfds' extra of tff_nlp"
        ) from error
    if not hasattr(tfds, "builder"):
        # If its import fails, the package only logs the error and is then left without functions.
        raise UserError(
            f"{flag}: tensorflow-datasets does not work with the packages beside it (its own"
            " message stands above); install the 'tfds' extra of tff_nlp"
        )
    try:
        return tfds.builder(name, data_dir=source.data_dir or None)
    except Exception as error:
        # TFDS has a different exception for each mistake: an unknown name or configuration, a
        # folder of another version, a builder that needs a package.
        raise UserError(f"{flag}: {_first_line(error)}") from error


def _prepared(builder: Any, name: str, source: CorpusSource) -> Any:
    flag = setting(source.corpus_flag, source.path)
    try:
        builder.download_and_prepare()
    except Exception as error:
        # Every data set has its own code for downloading and parsing, so any exception may occur.
        raise UserError(
            f"{flag}: cannot be downloaded or prepared in {builder.data_dir}"
            f" ({type(error).__name__}: {_first_line(error)})"
        ) from error
    splits = list(builder.info.splits)
    if source.split not in splits:
        raise UserError(
            f"{setting('split', source.split)}: {name} has the splits {', '.join(splits)}"
        )
    return builder.as_dataset(split=source.split, shuffle_files=False)


def _check_feature(flag: str, column: str, name: str, features: Any) -> None:
    known = ", ".join(features) if hasattr(features, "keys") else "no names"
    if not column:
        raise UserError(f"`{flag}` is needed for {name}; its features are {known}")
    if not hasattr(features, "keys") or column not in features:
        raise UserError(
            f"{setting(flag, column)}: no such feature in {name}; its features are {known}"
        )
    if features[column].shape not in ((), None):
        raise UserError(f"{setting(flag, column)}: a feature of {name} that holds no single value")


def _as_texts(values: Any) -> list[str]:
    """Returns the values of one feature as texts. Invalid UTF-8 becomes lone surrogates."""
    return [
        value.decode("utf-8", "surrogateescape").strip() if isinstance(value, bytes) else str(value)
        for value in values.tolist()
    ]


def _label_texts(values: Any, declared: tuple[str, ...]) -> list[str | None]:
    labels: list[str | None] = []
    for value in values.tolist():
        if isinstance(value, bytes):
            labels.append(value.decode("utf-8", "surrogateescape").strip())
        elif isinstance(value, int) and value < 0:
            labels.append(None)
        elif declared:
            labels.append(declared[value])
        else:
            labels.append(str(int(value) if float(value).is_integer() else value))
    return labels


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().split("\n")
    return verbatim(lines[0][:300]) if lines[0] else type(error).__name__
