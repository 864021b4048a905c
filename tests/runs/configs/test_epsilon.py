"""The config of the question about epsilon: choices and order grids. The script tests the rest."""

import pytest

from tff_nlp.errors import UserError
from tff_nlp.runs.configs.epsilon import EpsilonConfig


@pytest.mark.parametrize(
    ("text", "orders"),
    [
        ("", None),
        ("2..5", (2, 3, 4, 5)),
        ("1.1..1.4:0.1", (1.1, 1.2, 1.3, 1.4)),
        ("1.5,8,64", (1.5, 8, 64)),
    ],
)
def test_order_grids(text, orders):
    assert EpsilonConfig(population=100, orders=text).order_grid() == orders


@pytest.mark.parametrize(
    "text", [",", "a", "2..", "2..5:0", "1..3", "0.5", "5..2", "2..1e9", "nan", "inf", "2..inf"]
)
def test_bad_order_grids(text):
    with pytest.raises(UserError, match="orders="):
        EpsilonConfig(population=100, orders=text)


@pytest.mark.parametrize("name", ["accountant", "dp", "sampling", "unit"])
def test_other_names_are_refused_in_python_too(name):
    with pytest.raises(UserError, match=f"{name}=other: must be one of "):
        EpsilonConfig(population=100, **{name: "other"})
