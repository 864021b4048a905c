"""What predict.py writes: each row of the input with its label."""

import csv
import io
import json
import os
import pathlib
import secrets
import sys
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import tqdm

from tff_nlp.corpora.unlabelled import Unlabelled, UnlabelledRow
from tff_nlp.errors import RunError, UserError
from tff_nlp.printable import printable

if TYPE_CHECKING:
    from tff_nlp.models.token_counts import TokenCounts
    from tff_nlp.serving.predictor import Predictions

# What stands beside the columns of the input.
LABEL, PROBABILITY, PROBABILITIES = "predicted_label", "probability", "probabilities"

# The name of a label and its probability, by label; both None for a row without a text.
_Prediction = tuple[str | None, Mapping[str, float] | None]


def check_columns(given: Unlabelled, as_json: bool) -> None:
    """Checks that the new columns are new, and that JSON can hold the old ones.

    Raises:
      UserError: If the input has one of them, or JSON would have two keys of one name.
    """
    names = [name.strip() for name in given.header or ()]
    there = set(names).union(*(row.values for row in given.rows if isinstance(row.values, dict)))
    new = {LABEL, PROBABILITIES if as_json or given.is_json else PROBABILITY}
    for name in sorted(new & there):
        raise UserError(f"--file: has a column '{name}' already; rename it")
    twice = sorted(name for name in set(names) if names.count(name) > 1)
    if as_json and twice:
        raise UserError(f"--json: --file has several columns named '{twice[0]}'; rename them")


def lines(
    given: Unlabelled,
    predictions: "Predictions",
    label_names: tuple[str, ...],
    *,
    as_json: bool,
    safe: bool,
) -> Iterator[str]:
    """Yields the output without line ends; a field of a table may hold some.

    Args:
      given: The rows.
      predictions: Of the rows that have a text, in their order.
      label_names: Names of the labels, in the order of the probabilities.
      as_json: Whether a table or plain texts become JSON Lines, too.
      safe: Whether a terminal shows the lines: characters that it would obey are spelled out. In
        lines of plain texts they always are.
    """
    labelled = zip(given.rows, _predictions(given, predictions, label_names), strict=True)
    if as_json or given.is_json:
        names = given.header
        for row, (label, shares) in labelled:
            line = json.dumps(_record(row, names, label, shares), ensure_ascii=False)
            yield printable(line) if safe else line
    elif given.is_table:
        if given.header is not None:
            yield _csv_line([*given.header, LABEL, PROBABILITY], given.delimiter, safe)
        for row, (label, shares) in labelled:
            fields = [*row.values, label or "", _highest(shares)]
            yield _csv_line(fields, given.delimiter, safe)
    else:
        for row, (label, shares) in labelled:
            # The text is the last column: its tabs may stay.
            text = "\t".join(map(printable, row.values.split("\t")))
            yield f"{printable(label or '')}\t{_highest(shares)}\t{text}"


def notes(given: Unlabelled, counts: "TokenCounts", max_tokens: int) -> list[str]:
    """Returns what a person should know of the input, a sentence each."""
    said = list(given.notes)
    said.extend(f"{count} rows left out: {reason}" for reason, count in given.skipped.items())
    empty = sum(row.text is None for row in given.rows)
    if empty:
        said.append(f"{empty} rows have no text and get no label")
    if counts.texts_cut or counts.tokens_unknown:
        said.append(counts.line(max_tokens))
    return said


def bar(total: int) -> tqdm.tqdm:
    """Returns a progress bar over texts, shown on a terminal only."""
    return tqdm.tqdm(
        total=total, desc="labelling", unit=" texts", file=sys.stderr, disable=None, leave=False
    )


def check_new(path: pathlib.Path) -> None:
    """Checks that a file can be made.

    Raises:
      UserError: If there is something of that name, or no folder for it.
    """
    if path.exists() or path.is_symlink():
        raise UserError(f"--output={path}: exists already; nothing is overwritten")
    if not path.parent.is_dir():
        raise UserError(f"--output={path}: there is no folder {path.parent}")


def write_new(path: pathlib.Path, lines: Iterator[str]) -> None:
    """Writes a file that is there as a whole or not at all.

    Raises:
      UserError: If there is one of that name by now.
      RunError: If it cannot be written.
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
        raise RunError(f"--output={path}: cannot be written ({error.strerror or error})") from error
    finally:
        temporary.unlink(missing_ok=True)


def _predictions(
    given: Unlabelled, predictions: "Predictions", label_names: tuple[str, ...]
) -> Iterator[_Prediction]:
    found = zip(predictions.labels, predictions.probabilities, strict=True)
    for row in given.rows:
        if row.text is None:
            yield None, None
            continue
        label, probabilities = next(found)
        shares = (round(float(share), 6) for share in probabilities)
        yield label, dict(zip(label_names, shares, strict=True))


def _record(
    row: UnlabelledRow,
    names: list[str] | None,
    label: str | None,
    shares: Mapping[str, float] | None,
) -> dict[str, Any]:
    values = row.values
    if isinstance(values, str):
        return {"text": values, "label": label, PROBABILITIES: shares}
    if isinstance(values, list):
        numbered = [str(number) for number in range(len(values))]
        values = dict(zip(names or numbered, values, strict=True))
    return {**values, LABEL: label, PROBABILITIES: shares}


def _highest(shares: Mapping[str, float] | None) -> str:
    return "" if shares is None else f"{max(shares.values()):.4f}"


def _csv_line(fields: list[str], delimiter: str, safe: bool) -> str:
    buffer = io.StringIO()
    if safe:
        fields = [printable(field) for field in fields]
    csv.writer(buffer, delimiter=delimiter, lineterminator="").writerow(fields)
    return buffer.getvalue()
