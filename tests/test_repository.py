"""The repository has a licence, citations and types, and nothing private."""

import os
import pathlib
import re
import subprocess

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[1]
FOLDERS = (".ci", "data", "experiments", "notebooks", "scripts", "tests", "tff_nlp")
TEXT = {"", ".py", ".md", ".txt", ".toml", ".flags", ".cff", ".ipynb", ".json", ".csv", ".yaml"}


def text_files():
    """Yields the repository's text files, except uv.lock, because uv needs the addresses in it."""
    # In a work tree, .git is a file and not a folder.
    candidates = [path for path in ROOT.iterdir() if path.is_file() and path.name != ".git"]
    for folder in FOLDERS:
        candidates += (ROOT / folder).rglob("*")
    for path in candidates:
        if "__pycache__" in path.parts or path.name == "uv.lock" or not path.is_file():
            continue
        if path.suffix in TEXT and path.stat().st_size < 2_000_000:
            yield path


# The patterns are split, so that this file does not contain them.
FORBIDDEN = {
    "a registry's host": re.compile(r"py" + r"pi\.org|python" + r"hosted\.org"),
    "a path of one machine": re.compile(r"(?<![\w.])/(?:root|home|Users|work)" + r"/\w"),
    "a conflict marker": re.compile(r"^(?:<{7}|>{7}) ", re.MULTILINE),
    "a debugger": re.compile(r"\b(?:break" + r"point\(\)|import p" + r"db\b|set_" + r"trace\(\))"),
}


@pytest.mark.parametrize("what", FORBIDDEN)
def test_no_file_contains(what):
    pattern = FORBIDDEN[what]
    found = []
    for path in text_files():
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue
        found += [f"{path.relative_to(ROOT)}: {match.group()}" for match in pattern.finditer(text)]
    assert found == []


@pytest.mark.parametrize(
    ("what", "text"),
    [
        ("a registry's host", "https://files.python" + "hosted.org/x"),
        ("a path of one machine", "open('/ro" + "ot/x')"),
        ("a conflict marker", "<<<<" + "<<< HEAD"),
        ("a debugger", "break" + "point()"),
    ],
)
def test_the_patterns_find_what_they_are_for(what, text):
    assert FORBIDDEN[what].search(text)


def test_the_licence_is_apache_and_declared():
    text = (ROOT / "LICENSE").read_text(encoding="utf-8")
    assert "Apache License" in text
    assert "Version 2.0, January 2004" in text
    assert "END OF TERMS AND CONDITIONS" in text
    assert 'license="Apache-2.0"' in (ROOT / "setup.py").read_text(encoding="utf-8")
    assert "license: Apache-2.0" in (ROOT / "CITATION.cff").read_text(encoding="utf-8")


def test_the_citation_agrees_with_the_package():
    citation = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    version = re.search(r'version="(.+?)"', (ROOT / "setup.py").read_text(encoding="utf-8"))
    assert f"version: {version.group(1)}" in citation
    for work in (
        "TensorFlow Federated",
        "TensorFlow Privacy",
        "KerasNLP",
        "MiniLM",
        "BERT",
        "SmolLM2",
    ):
        assert work in citation, work


def test_the_package_says_that_it_is_typed():
    assert (ROOT / "tff_nlp" / "py.typed").is_file()


@pytest.mark.parametrize(
    "script",
    [
        "scripts/setup",
        "scripts/demo",
        "scripts/notebooks",
        "scripts/test",
        "scripts/export_requirements",
        "scripts/benchmark_rounds",
        "scripts/benchmark_secure_aggregation",
        "scripts/benchmark_serving",
    ],
)
def test_scripts_run_and_parse(script):
    assert os.access(ROOT / script, os.X_OK)
    subprocess.run(["bash", "-n", str(ROOT / script)], check=True)


def test_ci_runs_the_test_command():
    text = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    assert os.access(ROOT / ".ci" / "run", os.X_OK)
    assert "scripts/test" in text


# Flags of other programs, and of scripts/setup, that messages mention.
OTHER_FLAGS = ("--address", "--head", "--no-deps", "--num-gpus", "--repair")


def test_the_package_writes_no_flag():
    """A message marks the name of an argument, and only a script makes a flag of it."""
    found = []
    for path in sorted((ROOT / "tff_nlp").rglob("*.py")):
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            flags = re.findall(r"(?<![\w-])--[a-z_{][\w-]*", line)
            if path.name != "errors.py" and set(flags) - set(OTHER_FLAGS):
                found.append(f"{path.relative_to(ROOT)}:{number}: {line.strip()}")
    assert found == []
