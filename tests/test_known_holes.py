"""docs/versions.md has the versions of uv.lock."""

import pathlib
import re

ROOT = pathlib.Path(__file__).resolve().parents[1]


def test_the_versions_are_those_of_the_lock():
    locked = re.findall(
        r'name = "([^"]+)"\nversion = "([^"]+)"', (ROOT / "uv.lock").read_text(encoding="utf-8")
    )
    page = (ROOT / "docs" / "versions.md").read_text(encoding="utf-8")
    listed = re.findall(r"(?m)^\| `([\w-]+)` \| ([\d.]+) \|", page)
    assert len(listed) >= 7
    assert [row for row in listed if row not in locked] == []
