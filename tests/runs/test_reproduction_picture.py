import pytest

from tff_nlp.runs import reproduction_picture


@pytest.mark.parametrize(
    ("ours", "published", "scale"),
    [
        ((90.3, 0.1), (None, None), "log"),
        ((90.3, 12.0), (80.0, 1.0), "log"),
        ((9.0, 4.0), (8.0, 0.0), "linear"),
    ],
)
def test_small_numbers_can_be_seen_beside_large_ones(ours, published, scale, tmp_path, drawn):
    cells = [
        {"row": row, "column": "1", "ours": a, "standard_deviation": 0.0, "published": b}
        for row, a, b in zip("ab", ours, published, strict=True)
    ]
    table = {"title": "T", "unit": "MB", "exact": False, "published": "paper", "cells": cells}
    [path] = reproduction_picture.draw({"tables": [table]}, tmp_path)
    assert path.exists()
    assert drawn[0].axes[0].get_yscale() == scale
