"""Executes notebooks from start to end. scripts/notebooks calls it, and tests import it."""

import pathlib
import sys
from collections.abc import Mapping
from typing import Any

import nbclient
import nbformat

# Seconds that a cell may take.
_TIMEOUT = 1800
PARAMETERS = "parameters"


def execute(
    path: pathlib.Path,
    folder: pathlib.Path,
    parameters: str | None = None,
    *,
    kernel: str = "python3",
) -> nbformat.NotebookNode:
    """Returns a notebook with the outputs of a new execution.

    Args:
      path: The notebook. The file is not changed.
      folder: Folder in which the cells run.
      parameters: Code in place of the cell with the tag "parameters"; None to keep the cell.
      kernel: Name of the kernel. "python3" has the Python that executes this function.

    Raises:
      CellExecutionError: If a cell fails.
    """
    notebook = nbformat.read(path, as_version=4)
    if parameters is not None:
        (cell,) = (c for c in notebook.cells if PARAMETERS in c.metadata.get("tags", ()))
        cell.source = parameters
    options: dict[str, Any] = {"timeout": _TIMEOUT, "record_timing": False}
    client = nbclient.NotebookClient(
        notebook,
        kernel_name=kernel,
        resources={"metadata": {"path": str(folder)}},
        **options,
    )
    client.execute()
    return notebook


def store(path: pathlib.Path) -> None:
    """Executes a notebook with its own parameters, and stores the outputs in its file."""
    notebook = execute(path, path.parent)
    # What differs between machines.
    kept: Mapping[str, Any] = {"name": "python"}
    notebook.metadata["language_info"] = kept
    path.write_text(nbformat.writes(notebook, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    for argument in sys.argv[1:]:
        print(f"executing {argument}", flush=True)
        store(pathlib.Path(argument).absolute())
