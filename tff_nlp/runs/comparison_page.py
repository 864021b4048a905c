"""The page of a comparison of runs: one file that opens without a network."""

import base64
import html
from collections.abc import Mapping, Sequence
from typing import Any

_STYLE = (
    "body{font-family:sans-serif;max-width:70em;margin:2em auto;padding:0 1em;line-height:1.4}"
    "table{border-collapse:collapse;margin:1em 0}"
    "td,th{border:1px solid #999;padding:.3em .7em;text-align:left}"
    "img{max-width:100%}"
)


def build(found: Mapping[str, Any], picture: bytes, privacy: Sequence[str]) -> str:
    """Returns the page as HTML.

    Args:
      found: The content of comparison.json.
      picture: The PNG file.
      privacy: The line of each run's privacy statement; empty without one.
    """
    measure = found["measure"]
    folders = [run["folder"] for run in found["runs"]]
    settings = [
        [name, *map(_shown, values)] for name, values in found["different_settings"].items()
    ]
    scores = [
        [group["label"], _number(group["mean"]), _number(group["standard_deviation"])]
        + [str(len(group["folders"]))]
        for group in found["groups"]
    ]
    tests = [
        [t["one"], t["other"], f"{t['difference']:+.4f}", f"{t['p_value']:.2g}", t["method"]]
        for t in found["tests"]
    ]
    private = [[folder, line] for folder, line in zip(folders, privacy, strict=True) if line]
    image = base64.b64encode(picture).decode()
    parts = [
        "<h1>Comparison of runs</h1>",
        f"<h2>Test {html.escape(measure)}</h2>",
        _table(["runs", "mean", "standard deviation over seeds", "seeds"], scores),
        f'<img alt="Test {html.escape(measure)} over rounds, bytes and seconds" '
        f'src="data:image/png;base64,{image}">',
        "<h2>Do they differ?</h2>",
        _table(["first", "second", "difference", "p", "test"], tests)
        if tests
        else "<p>There is no test: it takes two seeds of each, or runs with one seed that have "
        "predicted the same texts.</p>",
        "<p>All p-values are adjusted for the number of tests (Holm 1979). A test over texts of "
        "one seed does not know how much scores change with the seed.</p>",
        "<h2>Settings that differ</h2>",
        _table(["setting", *folders], settings) if settings else "<p>None but the seed.</p>",
    ]
    if private:
        parts += ["<h2>Privacy</h2>", _table(["run", "statement"], private)]
    return (
        '<!DOCTYPE html><html lang="en"><head><meta charset="utf-8">'
        f"<title>Comparison of runs</title><style>{_STYLE}</style></head><body>"
        + "\n".join(parts)
        + "</body></html>\n"
    )


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    head = "".join(f"<th>{html.escape(text)}</th>" for text in header)
    body = "".join(
        "<tr>" + "".join(f"<td>{html.escape(text)}</td>" for text in row) + "</tr>" for row in rows
    )
    return f"<table><tr>{head}</tr>{body}</table>"


def _shown(value: Any) -> str:
    return "" if value is None else str(value)


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"
