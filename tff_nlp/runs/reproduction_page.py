"""The page of a reproduced paper: what came out first, then the tables and the departures."""

import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

from tff_nlp.runs import pages, text_table

_DIGITS = 16  # Of a fingerprint. reproduction.json has all.


def blocks(found: Mapping[str, Any], pictures: Sequence[pathlib.Path | None]) -> list[pages.Block]:
    """Returns the content of the page.

    Args:
      found: The content of reproduction.json.
      pictures: The picture of each table; None for a table without one.
    """
    content: list[pages.Block] = [
        pages.Heading(found["title"], 1),
        *(pages.Text(line) for line in verdict(found)),
        *(pages.Text(line) for line in found["findings"]),
        pages.Text(f"Paper: {found['citation']} Published numbers: {found['source']}."),
        pages.Text(_made(found)),
        *(pages.Text(line) for line in _files(found)),
    ]
    for table, path in zip(found["tables"], pictures, strict=True):
        content += _table(table, path)
    content.append(pages.Heading("Departures"))
    if not found["departures"]:
        return [*content, pages.Text("None.")]
    rows = [
        [d["what"].replace("_", " "), d["paper"], d["here"], d["why"], _cells(d["cells"])]
        for d in found["departures"]
    ]
    return [*content, pages.Table(["what", "paper", "here", "why", "where"], rows)]


def html(found: Mapping[str, Any], content: Sequence[pages.Block]) -> str:
    """Returns the page as HTML."""
    return pages.to_html(found["title"], content)


def markdown(content: Sequence[pages.Block]) -> str:
    """Returns the page as Markdown."""
    return pages.to_markdown(content)


def verdict(found: Mapping[str, Any]) -> list[str]:
    """Returns what came out, a few sentences. Orders that did not come out are first."""
    orders = [order for table in found["tables"] for order in table["orders"]]
    said = []
    wrong = [order for order in orders if not order["holds"]]
    clear = [order for order in wrong if order["clear"]]
    if orders:
        if wrong:
            said.append(
                f"The published order does not come out in {len(wrong)} of {len(orders)} "
                f"comparisons, {len(clear)} of them by more than both standard deviations over "
                "seeds together."
            )
        else:
            said.append(f"The published order comes out in all {len(orders)} comparisons.")
    said += _guessing(found)
    exact = [
        (table, cell) for table in found["tables"] if table["exact"] for cell in table["cells"]
    ]
    compared = [(t, c) for t, c in exact if None not in (c["ours"], c["published"])]
    if compared:
        off = [(t, c) for t, c in compared if not is_equal(t, c)]
        if off:
            names = "; ".join(f"{cell['row']}, {cell['column']}" for _, cell in off)
            said.append(f"{len(off)} of {len(compared)} exact numbers differ: {names}.")
        else:
            said.append(
                f"All {len(compared)} exact numbers equal the published ones to the printed digit."
            )
    said += [line for table in found["tables"] for line in _distance(table)]
    empty = [c for table in found["tables"] for c in table["cells"] if c["ours"] is None]
    failed = sum(bool(cell["failed"]) for cell in empty)
    if failed:
        said.append(f"{failed} cells are refused, or their training diverged.")
    missing = len(empty) - failed
    if missing:
        said.append(f"{missing} cells have no number yet.")
    return said


def _guessing(found: Mapping[str, Any]) -> list[str]:
    """Returns how many accuracies show no learning, a sentence or none."""
    cells = [cell for table in found["tables"] for cell in table["cells"]]
    known = [cell for cell in cells if cell.get("most_frequent_label") is not None]
    untrained = [cell for cell in known if cell["ours"] <= cell["most_frequent_label"]]
    if not untrained:
        return []
    return [
        f"{len(untrained)} of {len(known)} accuracies of ours are no better than always predicting "
        "the most frequent label: the rounds of this scale are too few for them, or the noise is "
        "too large."
    ]


def _distance(table: Mapping[str, Any]) -> list[str]:
    """Returns how far ours are from the published numbers, a sentence or none."""
    differences = [c["difference"] for c in table["cells"] if c["difference"] is not None]
    if table["exact"] or not differences:
        return []
    if table["published"] == "at least":
        reached = sum(difference >= 0 for difference in differences)
        return [f"{table['title']}: {reached} of {len(differences)} numbers are reached."]
    digits = table["digits"]
    low, high = (f"{found(differences):+.{digits}f}" for found in (min, max))
    if len(differences) == 1:
        return [f"{table['title']}: ours is {low} from the {table['published']} number."]
    count = f"{len(differences)} {table['published']} numbers"
    return [f"{table['title']}: ours are {low} to {high} from the {count}."]


def is_equal(table: Mapping[str, Any], cell: Mapping[str, Any]) -> bool:
    """Returns whether a number is the published one, to the printed digit."""
    digits = table["digits"]
    return f"{cell['ours']:.{digits}f}" == f"{cell['published']:.{digits}f}"


def lines(found: Mapping[str, Any]) -> list[str]:
    """Returns the lines for a terminal."""
    said = []
    for table in found["tables"]:
        said.append(f"{table['title']}, {table['unit']}")
        rows = [[table["rows"], table["columns"], "ours", "published", "difference", "seeds"]]
        for cell in table["cells"]:
            difference = cell["difference"]
            rows.append(
                [
                    cell["row"],
                    cell["column"],
                    _ours(table, cell),
                    _number(table, cell["published"]),
                    "" if difference is None else f"{difference:+.{table['digits']}f}",
                    str(len(cell["seeds"])),
                ]
            )
        said += [*text_table.aligned(rows), ""]
    return [*said, *verdict(found)]


def _made(found: Mapping[str, Any]) -> str:
    machine = found["machine"]
    listed = ", ".join(f"{name} {value}" for name, value in machine.items())
    return (
        f"Computed on {found['date']} at the scale {found['scale']} in {found['minutes']:g} minutes"
        f" ({listed})."
    )


def _files(found: Mapping[str, Any]) -> list[str]:
    """Returns which files the results come from, a few sentences; none if nothing was trained."""
    seeds = [seed for table in found["tables"] for cell in table["cells"] for seed in cell["seeds"]]
    if not seeds:
        return []
    # Results of older versions do not know their files.
    files = found.get("files")
    said = []
    if files and files["fingerprints"]:
        listed = ", ".join(
            f"{path} ({digest[:_DIGITS]})" for path, digest in files["fingerprints"].items()
        )
        said.append(f"Files, with the first {_DIGITS} digits of their SHA-256: {listed}.")
    if files is None:
        said.append("It is not known which files the results come from.")
    elif files["results_without"]:
        count = f"{files['results_without']} of {files['results']} results"
        said.append(f"It is not known which files {count} come from.")
    return said


def _table(table: Mapping[str, Any], picture: pathlib.Path | None) -> list[pages.Block]:
    columns = list(dict.fromkeys(cell["column"] for cell in table["cells"]))
    rows = list(dict.fromkeys(cell["row"] for cell in table["cells"]))
    by_place = {(cell["row"], cell["column"]): cell for cell in table["cells"]}
    grid = [
        [row, *(_shown(table, by_place.get((row, column))) for column in columns)] for row in rows
    ]
    header = [f"{table['rows']} / {table['columns']}", *columns]
    content: list[pages.Block] = [pages.Heading(table["title"]), pages.Text(_legend(table))]
    content.append(pages.Table(header, grid))
    if picture is not None:
        says = f"Ours beside the numbers of the paper, {table['unit']}"
        content.append(pages.Picture(picture.read_bytes(), picture.name, says))
    wrong = [order for order in table["orders"] if not order["holds"]]
    if wrong:
        listed = [
            [
                ", ".join(order["higher"]),
                ", ".join(order["lower"]),
                f"{order['ours']:+.{table['digits']}f}",
                "yes" if order["clear"] else "no",
            ]
            for order in wrong
        ]
        head = ["published as higher", "published as lower", "difference of ours", "clear"]
        content.append(pages.Table(head, listed, folded="Orders that did not come out"))
    return content


def _legend(table: Mapping[str, Any]) -> str:
    parts = ["ours"]
    seeds = sorted({len(cell["seeds"]) for cell in table["cells"] if len(cell["seeds"]) > 1})
    if seeds:
        counts = " or ".join(map(str, seeds))
        parts.append(f"± standard deviation over {counts} seeds")
    if any(cell["published"] is not None for cell in table["cells"]):
        parts.append(f"({table['published']})")
    return f"Unit: {table['unit']}. Each cell: {' '.join(parts)}."


def _shown(table: Mapping[str, Any], cell: Mapping[str, Any] | None) -> str:
    if cell is None:
        return ""
    published = cell["published"]
    ours = _ours(table, cell)
    return ours if published is None else f"{ours} ({_number(table, published)})"


def _ours(table: Mapping[str, Any], cell: Mapping[str, Any]) -> str:
    if cell["ours"] is None:
        return cell["failed"][0].partition(":")[0] if cell["failed"] else "-"
    spread = cell["standard_deviation"]
    return _number(table, cell["ours"]) + ("" if spread is None else f" ± {_number(table, spread)}")


def _number(table: Mapping[str, Any], value: float | None) -> str:
    return "" if value is None else f"{value:,.{table['digits']}f}"


def _cells(names: Sequence[str]) -> str:
    if not names:
        return "everywhere"
    return "; ".join(names) if len(names) <= 3 else f"{len(names)} cells, such as {names[0]}"
