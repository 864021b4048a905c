"""Pages of results: blocks that become one HTML file, which opens offline, or Markdown."""

import base64
import dataclasses
import html
from collections.abc import Sequence
from typing import Any

from tff_nlp.printable import printable

_STYLE = (
    "body{font-family:sans-serif;max-width:70em;margin:2em auto;padding:0 1em;line-height:1.4;"
    "color:#111;background:#fff}"
    "table{border-collapse:collapse;margin:1em 0}"
    "td,th{border:1px solid #999;padding:.3em .7em;text-align:left;vertical-align:top}"
    "td.number{text-align:right}img{max-width:100%}details{margin:1em 0}summary{cursor:pointer}"
    ".scroll,pre{overflow-x:auto}"
)


@dataclasses.dataclass(frozen=True)
class Heading:
    """A heading.

    Attributes:
      text: The text.
      level: 1 for the title, 2 for a section, 3 for a part of one.
    """

    text: str
    level: int = 2


@dataclasses.dataclass(frozen=True)
class Text:
    """A paragraph."""

    text: str


@dataclasses.dataclass(frozen=True)
class Lines:
    """Lines as a terminal shows them."""

    lines: Sequence[str]


@dataclasses.dataclass(frozen=True)
class Table:
    """A table.

    Attributes:
      header: The names of the columns.
      rows: The cells of each row, as text.
      folded: The line to click on, if the table is closed at first; empty for an open table.
    """

    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    folded: str = ""


@dataclasses.dataclass(frozen=True)
class Picture:
    """A picture.

    Attributes:
      png: The content of the PNG file.
      path: Path of the file as Markdown names it.
      says: What it shows, for people who do not see it.
    """

    png: bytes
    path: str
    says: str


Block = Heading | Text | Lines | Table | Picture


def to_html(title: str, blocks: Sequence[Block]) -> str:
    """Returns a page with its pictures inside. It needs no other file and no network.

    Args:
      title: Title of the browser's window.
      blocks: The content.
    """
    return (
        '<!DOCTYPE html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width">'
        f"<title>{html.escape(title)}</title><style>{_STYLE}</style></head><body>\n"
        + "\n".join(map(_html, blocks))
        + "\n</body></html>\n"
    )


def to_markdown(blocks: Sequence[Block]) -> str:
    """Returns a page as Markdown. Pictures are named by their paths."""
    return "\n\n".join(map(_markdown, blocks)) + "\n"


def _html(block: Block) -> str:
    if isinstance(block, Heading):
        return f"<h{block.level}>{html.escape(block.text)}</h{block.level}>"
    if isinstance(block, Text):
        return f"<p>{html.escape(block.text)}</p>"
    if isinstance(block, Lines):
        return f"<pre>{html.escape(chr(10).join(block.lines))}</pre>"
    if isinstance(block, Picture):
        image = base64.b64encode(block.png).decode()
        return f'<img alt="{html.escape(block.says)}" src="data:image/png;base64,{image}">'
    head = "".join(f"<th>{html.escape(text)}</th>" for text in block.header)
    body = "".join("<tr>" + "".join(map(_html_cell, row)) + "</tr>\n" for row in block.rows)
    table = f'<div class="scroll"><table><tr>{head}</tr>\n{body}</table></div>'
    if not block.folded:
        return table
    return f"<details><summary>{html.escape(block.folded)}</summary>{table}</details>"


def _html_cell(text: str) -> str:
    kind = ' class="number"' if _is_number(text) else ""
    return f"<td{kind}>{html.escape(text)}</td>"


def _is_number(text: str) -> bool:
    try:
        float(text.replace(",", "").removesuffix("%").strip())
    except ValueError:
        return False
    return True


def _markdown(block: Block) -> str:
    if isinstance(block, Heading):
        return f"{'#' * block.level} {_escaped(block.text)}"
    if isinstance(block, Text):
        return _escaped(block.text)
    if isinstance(block, Lines):
        return "\n".join(f"    {line}" for line in block.lines)
    if isinstance(block, Picture):
        return f"![{_escaped(block.says)}]({block.path})"
    lines = [block.header, ["---"] * len(block.header), *block.rows]
    return "\n".join("| " + " | ".join(map(_escaped, line)) + " |" for line in lines)


def _escaped(text: str) -> str:
    # Underlines within words, as in names of options, have no meaning.
    for mark in ("\\", "|", "*", "<", "`"):
        text = text.replace(mark, f"\\{mark}")
    return " ".join(text.split())


def setting(value: Any) -> str:
    """Returns the value of a setting as a cell of a table."""
    if isinstance(value, list | tuple):
        return ", ".join(map(setting, value))
    return "" if value is None else printable(str(value))
