"""The pages on privacy name the switches as the program knows them, and claim what is shown."""

import dataclasses
import math
import pathlib
import re
import types

import numpy as np
import pytest

from tff_nlp.aggregation.secure_aggregation import demands
from tff_nlp.execution import contexts
from tff_nlp.privacy import names
from tff_nlp.runs import configs
from tff_nlp.runs.configs import privacy

ROOT = pathlib.Path(__file__).parents[2]
DOCS = ROOT / "docs"
FOOTNOTES = r"(\[\^[\w-]+\])+"
# What the reader must take for granted; the rest of the page claims.
GIVEN = ("", "The parts")


@pytest.fixture(scope="module")
def page():
    return (DOCS / "threat_model.md").read_text(encoding="utf-8")


def definitions(page):
    """Returns the footnotes, by name."""
    found = re.split(r"^\[\^([\w-]+)\]:", page, flags=re.MULTILINE)[1:]
    return {
        name: " ".join(text.split()) for name, text in zip(found[::2], found[1::2], strict=True)
    }


def sections(page):
    """Yields the title and the text of each section; the introduction's title is empty."""
    text = re.split(r"^\[\^[\w-]+\]:", page, maxsplit=1, flags=re.MULTILINE)[0]
    parts = re.split(r"^##+ (.+)$", text, flags=re.MULTILINE)
    yield "", parts[0]
    yield from zip(parts[1::2], parts[2::2], strict=True)


def claims(text):
    """Yields the sentences of paragraphs and lists, and the cells of tables of words."""
    for block in re.split(r"\n\n|\n(?=- )", text.strip()):
        lines = block.split("\n")
        if lines[0].startswith("|"):
            rows = [[cell.strip() for cell in line.strip("| ").split(" | ")] for line in lines[2:]]
            cells = [cell for row in rows for cell in row[1:]]
            yield from (cell for cell in cells if not re.fullmatch(r"[\d.]+", cell))
        else:
            sentences = " ".join(block.split()).removeprefix("- ")
            # A list's headline in bold is said again by the sentence after it.
            sentences = re.sub(r"^\*\*[^*]+\*\*( \(\S+\)\.)? ", "", sentences)
            yield from re.split(r"(?<=[.\]:]) (?=[A-Z])", sentences)


def test_the_threat_model_names_every_mechanism_and_no_other(page):
    named = set(re.findall(r"--dp=(\w+)", page))
    assert named == set(privacy.MECHANISMS) - {names.NONE}
    [kinds] = (
        field.metadata["choices"]
        for field in dataclasses.fields(configs.FederatedConfig)
        if field.name == "secure_aggregation"
    )
    assert set(re.findall(r"--secure_aggregation=(\w+)", page)) == set(kinds) - {"none"}


def test_every_claim_has_a_footnote(page):
    claimed = [
        claim for title, text in sections(page) if title not in GIVEN for claim in claims(text)
    ]
    assert len(claimed) > 50
    bare = [claim for claim in claimed if not re.search(rf"{FOOTNOTES}$", claim)]
    assert bare == []


def test_every_footnote_names_a_test_or_a_publication(page):
    notes = definitions(page)
    assert set(re.findall(r"\[\^([\w-]+)\](?!:)", page)) == notes.keys()
    works = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    titles = set(re.findall(r'^    title: "?(.+?)"?$', works, re.MULTILINE))
    for name, note in notes.items():
        cited, tests = re.findall(r'"(.+?)"', note), re.findall(r"`(tests/\S+?)::(\w+)`", note)
        assert cited or tests, name
        assert set(cited) <= titles, name
        for path, test in tests:
            assert f"\ndef {test}(" in (ROOT / path).read_text(encoding="utf-8"), (name, test)


def test_the_table_of_colluders(page):
    """The least thresholds, the honest inputs, and sqrt(k / n), which variances give."""
    rows = re.findall(r"^\| (\d+) \| (\d+) \| (\d+) \| (\d+) \| ([\d.]+) \|$", page, re.MULTILINE)
    assert len(rows) == 5
    for clients, colluders, threshold, honest, share in (map(float, row) for row in rows):
        assert demands.DEFAULT.colluders_among(int(clients)) == colluders
        assert demands.DEFAULT.least_threshold(int(clients)) == threshold
        assert honest == threshold - colluders
        assert share == pytest.approx(math.sqrt(honest / clients), abs=0.005)


def test_the_examples_of_secure_aggregation_run(monkeypatch):
    from tests.learning import quadratics

    installed = []
    monkeypatch.setattr(contexts, "install", lambda *name, **others: installed.append(others))
    text = (DOCS / "secure_aggregation.md").read_text(encoding="utf-8")
    encrypted, masked = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    found = {"classifier": types.SimpleNamespace(task=quadratics.task())}
    exec(encrypted, found)
    assert found["process"].conduct.aggregator.encrypted
    begun = installed[0]["protocols"]([0, 1], [(3, 2**20)])
    for client in range(2):
        begun.add_input(client, [np.array([1, 2, 3])])
    assert begun.finish()[0].tolist() == [2, 4, 6]
    found = {}
    exec(masked, found)
    result = found["result"]
    assert result.survivors == (0, 1, 2, 4, 5, 6, 7, 8, 9)
    assert result.sums[0].tolist() == [0, 9, 18, 27, 36]
    assert result.sums[1].tolist() == [-42 % 1009]


@pytest.mark.parametrize("name", ["threat_model.md", "secure_aggregation.md"])
def test_links_lead_somewhere(name):
    links = re.findall(r"\]\(([^)#]+)\)", (DOCS / name).read_text(encoding="utf-8"))
    assert links
    assert all((DOCS / link).is_file() for link in links)
