"""The pages on privacy name the switches as the program knows them, and run as they say."""

import pathlib
import re

import pytest

from experiments import privacy_flags

DOCS = pathlib.Path(privacy_flags.__file__).parents[1] / "docs"


def test_the_threat_model_names_every_mechanism_and_no_other():
    text = (DOCS / "threat_model.md").read_text(encoding="utf-8")
    named = set(re.findall(r"--dp=(\w+)", text))
    assert named == set(privacy_flags.MECHANISMS) - {privacy_flags.NONE}


def test_the_example_of_secure_aggregation_runs():
    text = (DOCS / "secure_aggregation.md").read_text(encoding="utf-8")
    [code] = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    names = {}
    exec(code, names)
    result = names["result"]
    assert result.survivors == (0, 1, 2, 4, 5, 6, 7, 8, 9)
    assert result.sums[0].tolist() == [0, 9, 18, 27, 36]
    assert result.sums[1].tolist() == [-42 % 1009]


@pytest.mark.parametrize("page", ["threat_model.md", "secure_aggregation.md"])
def test_links_lead_somewhere(page):
    links = re.findall(r"\]\(([^)#]+)\)", (DOCS / page).read_text(encoding="utf-8"))
    assert links
    assert all((DOCS / link).is_file() for link in links)
