"""Builds a corpus from rows: maps labels, and refuses or counts bad rows."""

from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from tff_nlp.corpora import columns, rows
from tff_nlp.corpora.corpus import Corpus
from tff_nlp.corpora.label_spelling import spelling_notes
from tff_nlp.corpora.lines import is_decodable
from tff_nlp.corpora.mojibake import is_mojibake
from tff_nlp.corpora.report import LoadedCorpus, LoadReport
from tff_nlp.corpora.rows import BadRow, ReadNotes, Row
from tff_nlp.corpora.source import DROP, CorpusSource, parse_label_map
from tff_nlp.errors import UserError, setting, verbatim
from tff_nlp.printable import printable

# A column with more distinct values than this holds texts, numbers or names, not classes.
MAX_LABELS = 1000


def assemble(
    read: Iterable[Row | BadRow],
    source: CorpusSource,
    notes: ReadNotes,
    *,
    name: str,
    files: Sequence[str],
    format_name: str,
    with_clients: bool,
    label_names: Sequence[str] | None = None,
    synthetic: bool = False,
) -> LoadedCorpus:
    """Returns the corpus of these rows, in their order.

    The label names have the order of `label_map` if there is one. Otherwise they have the order
    that the data set declares. Otherwise they are sorted: by value if all are numbers, else by
    name. A corpus without labels has no label names.

    Args:
      read: The rows.
      source: The label map, and how to handle bad rows.
      notes: The notes of the readers. They are complete when all rows have been read.
      name: The corpus's name.
      files: The files, for the report.
      format_name: The format of the files, for the report.
      with_clients: Whether the rows have clients.
      label_names: The label names of the training corpus, if this is its test corpus. The test
        corpus must have the same labels.
      synthetic: Whether the texts were generated.

    Raises:
      UserError: If a row is bad and `bad_rows` is "error"; if the label map or the training
        corpus does not have a label; if there are no usable rows, fewer than two labels or more
        than `MAX_LABELS`; or if the labels look like values of a wrong column or a header.
    """
    builder = _Builder(source, label_names, with_clients)
    for row in read:
        builder.add(row)
    labels, names = builder.labels(notes.declared_labels, ", ".join(files[:3]))
    report = LoadReport(
        files=tuple(files),
        format=format_name,
        rows_read=builder.rows_read,
        rows_kept=len(builder.texts),
        skipped=builder.skipped,
        first_skipped=builder.first_skipped,
        dropped_by_label_map=builder.dropped,
        notes=(*notes.lines(), *builder.notes(names, labels)),
    )
    authors = tuple(builder.clients) if with_clients else None
    second_texts = tuple(builder.second_texts) if source.second_text_column else None
    corpus = Corpus(name, tuple(builder.texts), labels, names, authors, synthetic, second_texts)
    return LoadedCorpus(corpus, report)


class _Builder:
    """Collects the usable rows and counts the others."""

    def __init__(
        self, source: CorpusSource, label_names: Sequence[str] | None, with_clients: bool
    ) -> None:
        self._source = source
        self._map = parse_label_map(source.label_map)
        self._wanted = label_names
        self._with_clients = with_clients
        self._label_ids: dict[str, int] = {}
        self._first_places: list[str] = []
        self._ids: list[int] = []
        self._own_clients = 0
        self._stripped = 0
        self._mojibake = 0
        self._first_mojibake = ""
        self.texts: list[str] = []
        self.second_texts: list[str] = []
        self.clients: list[str] = []
        self.rows_read = 0
        self.dropped = 0
        self.skipped: dict[str, int] = {}
        self.first_skipped: dict[str, str] = {}

    def add(self, row: Row | BadRow) -> None:
        self.rows_read += 1
        if isinstance(row, BadRow):
            self._refuse(row.file, row.place, row.reason, row.detail)
            return
        file, place, *values = row
        text, label, client, second = map(self._present, values)
        for value, flag in ((text, "text_column"), (second, "second_text_column")):
            if value is not None and not is_decodable(value):
                where = f"in {self._column(flag) or 'the text'}{self._encoding_hint(value)}"
                self._refuse(file, place, rows.UNDECODABLE, where)
                return
        new_label = None
        if self._source.labelled:
            if not label:
                self._refuse(file, place, rows.MISSING_LABEL, self._missing_hint(row.label))
                return
            new_label = self._map_label(label, file, place)
            if new_label is None:
                return
        text, second = self._strip(text), self._strip(second)
        if not text:
            self._refuse_empty(file, place, rows.EMPTY_TEXT, "text_column", row.text)
            return
        if not second and self._source.second_text_column:
            reason, flag = rows.EMPTY_SECOND_TEXT, "second_text_column"
            self._refuse_empty(file, place, reason, flag, row.second_text)
            return
        if not client and self._with_clients:
            if self._source.missing_client != "own":
                hint = "`missing_client`=own makes each such row its own client"
                self._refuse(file, place, rows.MISSING_CLIENT, hint)
                return
            self._own_clients += 1
            client = f"@nobody:{self.rows_read}"
        elif client and not is_decodable(client):
            self._refuse(file, place, rows.UNDECODABLE, "in `client_column`")
            return
        if is_mojibake(text) or is_mojibake(second):
            self._mojibake += 1
            self._first_mojibake = self._first_mojibake or f"{file}, {place}"
        if new_label is not None:
            self._ids.append(self._label_id(new_label, file, place))
        self.texts.append(text)
        self.second_texts.append(second)
        self.clients.append(client or "")

    def _refuse(self, file: str, place: str, reason: str, detail: str = "") -> None:
        if self._source.bad_rows == "error":
            raise UserError(BadRow(file, place, reason, detail).sentence())
        self.skipped[reason] = self.skipped.get(reason, 0) + 1
        self.first_skipped.setdefault(reason, f"{file}, {place}")

    def _refuse_empty(
        self, file: str, place: str, reason: str, flag: str, value: str | None
    ) -> None:
        detail = filter(None, (self._column(flag), self._missing_hint(value)))
        self._refuse(file, place, reason, "; ".join(detail))

    def _column(self, flag: str) -> str:
        """Returns a column flag with its value. Empty if the rows have only one text."""
        pairs = self._source.second_text_column
        return setting(flag, getattr(self._source, flag) or columns.TEXT) if pairs else ""

    def _present(self, value: str | None) -> str | None:
        """Returns a value, or None if the value means "missing"."""
        if value in self._source.missing:
            return None
        return value

    def _missing_hint(self, value: str | None) -> str:
        return f"'{verbatim(value)}' counts as missing by `missing_values`" if value else ""

    def _encoding_hint(self, text: str) -> str:
        if _ends_within_a_character(text):
            return ", which breaks off within a character: was the file cut?"
        tried = self._source.encoding
        return f", which {setting('encoding', tried)} cannot read; `encoding`={tried},latin-1 would"

    def _strip(self, text: str | None) -> str:
        if text and self._source.strip_prefix and text.startswith(self._source.strip_prefix):
            self._stripped += 1
            return text.removeprefix(self._source.strip_prefix).lstrip()
        return text or ""

    def _map_label(self, label: str, file: str, place: str) -> str | None:
        """Returns the label's name. Returns None, and counts the row, if the row is not used."""
        if not is_decodable(label):
            self._refuse(file, place, rows.UNDECODABLE, "in the label")
            return None
        if self._map:
            new = self._map.get(label, self._map.get("*"))
            if new is None:
                raise UserError(
                    f"{verbatim(file)}, {place}: `label_map` has no entry for the label "
                    f"'{_short(label)}'; it maps {verbatim(', '.join(self._map))}"
                )
            if new == DROP:
                self.dropped += 1
                return None
            label = new
        if self._wanted is not None and label not in self._wanted:
            raise UserError(
                f"{verbatim(file)}, {place}: the training corpus has no label '{_short(label)}' "
                f"(`label_map` can rename it); it has {verbatim(', '.join(self._wanted[:20]))}"
            )
        return label

    def _label_id(self, label: str, file: str, place: str) -> int:
        """Returns the label's number in order of first appearance."""
        found = self._label_ids.get(label)
        if found is None:
            found = self._label_ids[label] = len(self._label_ids)
            self._first_places.append(f"{file}, {place}")
            if found >= MAX_LABELS:
                raise UserError(
                    f"{setting('label_column', self._source.label_column or columns.LABEL)}: more "
                    f"than {MAX_LABELS} labels by {verbatim(file)}, {place}, such as "
                    f"'{_short(label)}': is it another column?"
                )
        return found

    def labels(self, declared: Sequence[str], files: str) -> tuple[np.ndarray, tuple[str, ...]]:
        """Returns int32[examples] labels and the label names. Both are empty without labels."""
        if not self.texts:
            counts = ", ".join(f"{count} {reason}" for reason, count in self.skipped.items())
            because = f" ({counts or f'{self.dropped} dropped by `label_map`'})"
            raise UserError(f"{files}: no usable rows{because if self.rows_read else ': empty'}")
        if not self._source.labelled:
            return np.zeros(0, np.int32), ()
        found = list(self._label_ids)
        if self._wanted is None:
            self._check_labels(found, files)
        names = self._order(found, declared)
        positions = {name: index for index, name in enumerate(names)}
        renumber = np.array([positions[name] for name in found], dtype=np.int32)
        return renumber[np.array(self._ids, dtype=np.int64)], names

    def _order(self, found: list[str], declared: Sequence[str]) -> tuple[str, ...]:
        if self._wanted is not None:
            return tuple(self._wanted)
        if self._map:
            # All names of the map, so that train and test agree even if one of them lacks a label.
            kept = [new for old, new in self._map.items() if new != DROP]
            return tuple(dict.fromkeys(kept))
        if set(found) <= set(declared):
            return tuple(declared)
        return order_labels(found)

    def _check_labels(self, found: list[str], files: str) -> None:
        column = self._source.label_column
        flag = setting("label_column", column) if column else files
        if len(found) == 1:
            raise UserError(
                f"{flag}: all {len(self._ids)} rows have the one label '{_short(found[0])}'; a"
                " classifier needs two"
            )
        if len(self._ids) >= 20 and len(found) > len(self._ids) // 2:
            raise UserError(
                f"{flag}: {len(found)} labels in {len(self._ids)} rows, such as"
                f" '{_short(found[0])}': is it another column?"
            )
        counts = np.bincount(self._ids)
        if not self._source.header and not self._map and len(self._ids) >= 20 and counts[0] == 1:
            raise UserError(
                f"{verbatim(self._first_places[0])}: the label '{_short(found[0])}' occurs only in "
                "the first row; if that is a header, say `header`=true, and if not, list it in "
                "`label_map`"
            )

    def notes(self, names: Sequence[str], labels: np.ndarray) -> list[str]:
        """Returns sentences for the user about the assembled rows."""
        said = []
        if self._stripped:
            said.append(
                f"{self._stripped} texts had the prefix '{verbatim(self._source.strip_prefix)}'"
            )
        if self._own_clients:
            said.append(f"{self._own_clients} rows without a client became clients of their own")
        if self._source.client_column and 20 <= len(self.texts) == len(set(self.clients)):
            said.append(
                f"{setting('client_column', self._source.client_column)} is different in every row"
            )
        counts = np.bincount(labels, minlength=len(names))
        if self._mojibake:
            said.append(
                f"{self._mojibake} texts look like UTF-8 that was once read as another encoding,"
                f" or lost characters (first: {verbatim(self._first_mojibake)})"
            )
        absent = [name for name, count in zip(names, counts, strict=True) if not count]
        if absent:
            said.append(f"no row has the label {verbatim(', '.join(absent))}")
        if self._wanted is None:
            said.extend(spelling_notes(names, counts))
        return said


def order_labels(names: Iterable[str]) -> tuple[str, ...]:
    """Returns label names in order of value if all are numbers, else sorted by name."""
    values: Mapping[str, float] | None
    try:
        values = {name: float(name) for name in names}
    except ValueError:
        return tuple(sorted(names))
    return tuple(sorted(values, key=lambda name: (values[name], name)))


def _short(label: str) -> str:
    return verbatim(printable(label, 40))


def _ends_within_a_character(text: str) -> bool:
    """Returns whether a text ends with an incomplete UTF-8 character, as if the file was cut."""
    try:
        text.encode("utf-8", "surrogateescape").decode("utf-8")
    except UnicodeDecodeError as error:
        # A single such byte may also be a letter in another encoding.
        is_utf8 = len(error.object) - error.start > 1 or not error.object[: error.start].isascii()
        return error.reason == "unexpected end of data" and is_utf8
    except UnicodeEncodeError:  # Half an emoji from a JSON escape does not come from file bytes.
        pass
    return False
