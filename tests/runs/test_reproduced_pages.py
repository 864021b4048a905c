"""The page of all reproduced papers."""

import json
import pathlib

import pytest

from experiments import papers
from tests.runs.test_reproduction import TRAINED, exact
from tff_nlp import errors
from tff_nlp.runs import cells, reproduced_pages, reproduction

DOCS = pathlib.Path(__file__).resolve().parents[2] / "docs"


def results(folder, name, published):
    reproduction.reproduce(
        name, published, "small", data_dir=folder, output_dir=folder / name, chosen="*"
    )
    return folder / name


def test_results_become_sections_with_their_pictures(tmp_path, monkeypatch):
    score = {"test": {"accuracy": 0.75}}
    monkeypatch.setattr(cells, "train", lambda config, **options: ({}, score))
    docs = tmp_path / "docs"
    folders = [results(tmp_path, "b2021", exact(2.5)), results(tmp_path, "a2020", TRAINED)]
    reproduced_pages.collect(folders, docs)
    page = (docs / "reproduced.md").read_text()
    assert page == reproduced_pages.page(docs)
    # Papers are in the order of their names, and the overview has what came out.
    assert page.index("experiments/reproduce.py a2020") < page.index("reproduce.py b2021")
    assert page.index("All 1 exact numbers equal") < page.index("## A paper")
    assert "(images/reproduced_a2020_1.png)" in page
    assert (docs / "images" / "reproduced_a2020_1.png").stat().st_size > 10_000
    assert not (docs / "images" / "reproduced_b2021_1.png").exists()
    # Other results stay, and old ones are replaced.
    reproduced_pages.collect(folders[:1], docs)
    assert (docs / "reproduced.md").read_text() == page


def test_a_folder_without_results_is_refused(tmp_path):
    with pytest.raises(errors.UserError, match="has no reproduction.json that can be read"):
        reproduced_pages.collect([tmp_path], tmp_path / "docs")


def test_the_page_of_this_project_is_that_of_its_results():
    assert (DOCS / "reproduced.md").read_text(encoding="utf-8") == reproduced_pages.page(DOCS)
    found = {path.stem: json.loads(path.read_text()) for path in DOCS.glob("reproduced/*.json")}
    assert set(found) <= set(papers.NAMES)
    # Each committed number has the row, the column and the published number of its paper today.
    for name, result in found.items():
        published = [
            (cell.row, cell.column, cell.published) for _, _, cell in papers.load(name).cells()
        ]
        held = [
            (c["row"], c["column"], c["published"]) for t in result["tables"] for c in t["cells"]
        ]
        assert held == published
