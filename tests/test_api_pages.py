"""scripts/docs writes a page for each room, and every public name has a docstring."""

import importlib
import inspect
import pathlib
import pkgutil

import pdoc
import pytest

import tff_nlp

ROOT = pathlib.Path(__file__).resolve().parents[1]
ROOMS = sorted(m.name for m in pkgutil.iter_modules(tff_nlp.__path__) if m.ispkg)
# What files of extras import; they are checked where it is installed.
EXTRAS = {"fastapi", "ray", "mlflow", "uvicorn", "wandb"}


def modules_of(room):
    package = importlib.import_module(f"tff_nlp.{room}")
    for found in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
        try:
            yield importlib.import_module(found.name)
        except ModuleNotFoundError as error:
            if error.name not in EXTRAS:
                raise


def test_the_script_calls_the_tool():
    script = (ROOT / "scripts" / "docs").read_text(encoding="utf-8")
    assert ".venv/bin/pdoc --docformat google" in script


def test_the_front_page_shows_the_front_door():
    pdoc.render.configure(docformat="google")
    module = pdoc.doc.Module(tff_nlp)
    page = pdoc.render.html_module(module, all_modules={"tff_nlp": module})
    for name in tff_nlp.__all__:
        assert f'id="{name}"' in page, name


@pytest.mark.slow
def test_each_room_has_a_page(tmp_path):
    pdoc.render.configure(docformat="google")
    pdoc.pdoc("tff_nlp", output_directory=tmp_path)
    for room in ROOMS:
        assert (tmp_path / "tff_nlp" / f"{room}.html").is_file(), room


@pytest.mark.parametrize("room", ROOMS)
def test_public_names_have_docstrings(room):
    silent = [
        f"{module.__name__}.{name}"
        for module in modules_of(room)
        for name, value in vars(module).items()
        if not name.startswith("_")
        and (inspect.isfunction(value) or inspect.isclass(value))
        and value.__module__ == module.__name__
        and not inspect.getdoc(value)
    ]
    assert silent == []
