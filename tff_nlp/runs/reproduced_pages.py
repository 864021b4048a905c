"""One page for all reproduced papers, from the folders of their results."""

import json
import pathlib
import shutil
from collections.abc import Mapping, Sequence
from typing import Any

from tff_nlp import durable_files, errors
from tff_nlp.runs import pages, reporter, reproduction, reproduction_page

PAGE, _FOLDER = "reproduced.md", "reproduced"
_PICTURES = "images"


def collect(folders: Sequence[pathlib.Path], to: pathlib.Path) -> None:
    """Copies results into a folder of documents, and writes the page of all results in it.

    Args:
      folders: Folders of `reproduction.reproduce`.
      to: The folder of documents. Earlier results of other papers stay.

    Raises:
      UserError: If a folder has no results.
    """
    (to / _FOLDER).mkdir(parents=True, exist_ok=True)
    for folder in folders:
        path = folder / reproduction.RESULT
        try:
            found = json.loads(path.read_text(encoding="utf-8"))
            name, _ = found["paper"], found["tables"]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise errors.UserError(
                f"{errors.verbatim(folder)}: has no {reproduction.RESULT} that can be read"
            ) from error
        shutil.copyfile(path, to / _FOLDER / f"{name}.json")
        for old in (to / _PICTURES).glob(f"{_picture(name, '*')}"):
            old.unlink()
        for number in range(1, len(found["tables"]) + 1):
            picture = folder / f"table_{number}.png"
            if picture.exists():
                (to / _PICTURES).mkdir(exist_ok=True)
                shutil.copyfile(picture, to / _PICTURES / _picture(name, str(number)))
    durable_files.replace_text(to / PAGE, page(to), private=False)
    reporter.say("saved", [f"{errors.verbatim(to)}: {PAGE}"])


def page(to: pathlib.Path) -> str:
    """Returns the page of all results in a folder of documents, as Markdown."""
    results = [
        json.loads(path.read_text(encoding="utf-8"))
        for path in sorted((to / _FOLDER).glob("*.json"))
    ]
    overview = [
        [found["title"], " ".join(reproduction_page.verdict(found)), _cost(found)]
        for found in results
    ]
    blocks: list[pages.Block] = [
        pages.Heading("Published tables, computed again", 1),
        pages.Text(
            errors.with_flags(
                "Each table is one command, experiments/reproduce.py NAME `data_dir`=FOLDER; "
                "`list` says which files it needs. Where a published order does not come out, the "
                "page says so first. Small means: other encoder and fewer rounds, within an hour "
                "on two cores. The departures are below each table. Two seeds tell little "
                "about a small difference."
            )
        ),
        pages.Table(["paper", "what came out", "computed"], overview),
    ]
    for found in results:
        blocks += _section(found, to)
    return pages.to_markdown(blocks)


def _section(found: Mapping[str, Any], to: pathlib.Path) -> list[pages.Block]:
    name = found["paper"]
    pictures = []
    for number in range(1, len(found["tables"]) + 1):
        path = to / _PICTURES / _picture(name, str(number))
        pictures.append(path if path.exists() else None)
    blocks = reproduction_page.blocks(found, pictures)
    lowered: list[pages.Block] = []
    for block in blocks:
        if isinstance(block, pages.Heading):
            block = pages.Heading(block.text, block.level + 1)
        if isinstance(block, pages.Picture):
            block = pages.Picture(block.png, f"{_PICTURES}/{block.path}", block.says)
        lowered.append(block)
    setting = errors.with_flags(f"`scale`={found['scale']}")
    command = f"Command: experiments/reproduce.py {name} {setting}"
    return [lowered[0], pages.Text(command), *lowered[1:]]


def _picture(name: str, number: str) -> str:
    return f"reproduced_{name}_{number}.png"


def _cost(found: Mapping[str, Any]) -> str:
    return f"{found['date']}, {found['scale']}, {found['minutes']:g} minutes"
