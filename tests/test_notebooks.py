"""Notebooks only run the scripts, and have no outputs."""

import ast
import json
import pathlib

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[1]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))


def code_of(notebook):
    cells = json.loads(notebook.read_text())["cells"]
    return [cell for cell in cells if cell["cell_type"] == "code"]


def calls_of_run(notebook):
    """Yields the constant arguments of each call of `run(script, *flags)`."""
    for cell in code_of(notebook):
        for node in ast.walk(ast.parse("".join(cell["source"]))):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "run":
                yield [a.value for a in node.args if isinstance(a, ast.Constant)]


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)
def test_it_runs_scripts_that_are_there_and_holds_no_outputs(notebook):
    assert all(not cell["outputs"] for cell in code_of(notebook))
    scripts = [arguments[0] for arguments in calls_of_run(notebook)]
    assert scripts and all((ROOT / "experiments" / script).exists() for script in scripts)
    flagfiles = [
        part.partition("=")[2]
        for cell in code_of(notebook)
        for part in "".join(cell["source"]).split('"')
        if part.startswith("--flagfile=")
    ]
    assert flagfiles and all((ROOT / name).exists() for name in flagfiles)


def test_there_is_a_notebook():
    assert NOTEBOOKS
