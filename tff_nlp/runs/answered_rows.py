"""The output of prediction: each row of the input, with the model's answer in new columns."""

import csv
import io
import json
import os
import pathlib
import secrets
import sys
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, Protocol

import tqdm

from tff_nlp.corpora.unlabelled import Unlabelled, UnlabelledRow
from tff_nlp.errors import RunError, UserError, setting, verbatim
from tff_nlp.printable import printable

if TYPE_CHECKING:
    from tff_nlp.models.token_counts import TokenCounts


class Answers(Protocol):
    """The answers of a model for the rows that have a text, in their order."""

    @property
    def table_columns(self) -> Sequence[str]:
        """Names of the new columns of a table."""

    @property
    def json_columns(self) -> Sequence[str]:
        """Names of the new keys of a JSON object."""

    def fields(self, position: int) -> Sequence[str]:
        """Returns the new fields of a table for one row.

        Args:
          position: Position of the answer.
        """

    def values(self, position: int) -> Sequence[Any]:
        """Returns the new JSON values for one row.

        Args:
          position: Position of the answer.
        """

    def line(self, fields: Sequence[str], text: str) -> str:
        """Returns the output line for a plain text.

        Args:
          fields: Result of `fields`; empty strings for an empty text.
          text: The text.
        """


def check_columns(given: Unlabelled, answers: type[Answers], as_json: bool) -> None:
    """Checks that the columns of the output have distinct names.

    Args:
      given: The rows.
      answers: The type of the answers.
      as_json: Whether the output is JSON.

    Raises:
      UserError: If the input has a column with the name of a new one, or JSON would have the same
        key twice.
    """
    names = [name.strip() for name in given.header or ()]
    old = set(names).union(*(row.values for row in given.rows if isinstance(row.values, dict)))
    new = answers.json_columns if as_json or given.is_json else answers.table_columns
    for name in sorted({*new} & old):  # type: ignore[misc]
        raise UserError(f"`file`: has a column '{name}' already; rename it")
    twice = sorted(name for name in set(names) if names.count(name) > 1)
    if as_json and twice:
        raise UserError(f"`json`: `file` has several columns named '{twice[0]}'; rename them")


def lines(given: Unlabelled, answers: Answers, *, as_json: bool, safe: bool) -> Iterator[str]:
    """Yields the lines of the output, without line ends. A field of a table may contain line ends.

    Args:
      given: The rows.
      answers: Answers for the rows that have a text, in their order.
      as_json: Whether to write JSON Lines also for a table or plain texts.
      safe: Whether to escape the characters that control a terminal. In lines of plain texts they
        are always escaped.
    """
    if as_json or given.is_json:
        for row, position in _positions(given):
            line = json.dumps(_record(row, given.header, answers, position), ensure_ascii=False)
            yield printable(line) if safe else line
        return
    if given.is_table and given.header is not None:
        yield _csv_line([*given.header, *answers.table_columns], given.delimiter, safe)
    for row, position in _positions(given):
        fields = [""] * len(answers.table_columns) if position is None else answers.fields(position)
        if given.is_table:
            yield _csv_line([*row.values, *fields], given.delimiter, safe)
        else:
            # The text is the last column, so its tabs do no harm.
            text = "\t".join(map(printable, row.values.split("\t")))
            yield answers.line([printable(field) for field in fields], text)


def _positions(given: Unlabelled) -> Iterator[tuple[UnlabelledRow, int | None]]:
    """Yields each row and the position of its answer; None for a row without a text."""
    position = 0
    for row in given.rows:
        if row.example is None:
            yield row, None
        else:
            yield row, position
            position += 1


def notes(given: Unlabelled, counts: "TokenCounts | None", max_tokens: int) -> list[str]:
    """Returns notes about the input for the user, one sentence each.

    Args:
      given: The input.
      counts: Token counts of the input; None if the model cuts no text.
      max_tokens: Maximum number of tokens of a text.
    """
    sentences = list(given.notes)
    sentences.extend(f"{count} rows left out: {reason}" for reason, count in given.skipped.items())
    empty = sum(row.example is None for row in given.rows)
    if empty:
        sentences.append(f"{empty} rows have no text and get no answer")
    if counts is not None and (counts.texts_cut or counts.tokens_unknown):
        sentences.append(counts.line(max_tokens))
    return sentences


def bar(total: int, doing: str) -> tqdm.tqdm:
    """Returns a progress bar over texts. Only a terminal shows it.

    Args:
      total: Number of texts.
      doing: What is done with the texts, one word.
    """
    return tqdm.tqdm(
        total=total, desc=doing, unit=" texts", file=sys.stderr, disable=None, leave=False
    )


def check_new(path: pathlib.Path) -> None:
    """Checks that a file can be created.

    Raises:
      UserError: If the path exists, or its folder does not exist.
    """
    if path.exists() or path.is_symlink():
        raise UserError(f"{setting('output', path)}: exists already; nothing is overwritten")
    if not path.parent.is_dir():
        raise UserError(f"{setting('output', path)}: there is no folder {verbatim(path.parent)}")


def write_new(path: pathlib.Path, lines: Iterator[str]) -> None:
    """Writes a new file. If writing fails, there is no file.

    Raises:
      UserError: If the path exists in the meantime.
      RunError: If the file cannot be written.
    """
    temporary = path.with_name(f".{path.name[:100]}.{os.getpid()}.{secrets.token_hex(4)}")
    try:
        with temporary.open("w", encoding="utf-8", errors="replace", newline="") as file:
            for line in lines:
                file.write(f"{line}\n")
            file.flush()
            os.fsync(file.fileno())
        check_new(path)
        temporary.rename(path)
    except OSError as error:
        raise RunError(
            f"{setting('output', path)}: cannot be written ({error.strerror or error})"
        ) from error
    finally:
        temporary.unlink(missing_ok=True)


def _record(
    row: UnlabelledRow, names: list[str] | None, answers: Answers, position: int | None
) -> dict[str, Any]:
    added = [None] * len(answers.json_columns) if position is None else answers.values(position)
    values = row.values
    if isinstance(values, str):
        values = {"text": values}
    elif isinstance(values, list):
        numbered = [str(number) for number in range(len(values))]
        values = dict(zip(names or numbered, values, strict=True))
    return {**values, **dict(zip(answers.json_columns, added, strict=True))}


def _csv_line(fields: Sequence[str], delimiter: str, safe: bool) -> str:
    buffer = io.StringIO()
    if safe:
        fields = [printable(field) for field in fields]
    csv.writer(buffer, delimiter=delimiter, lineterminator="").writerow(fields)
    return buffer.getvalue()
