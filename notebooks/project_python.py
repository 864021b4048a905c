"""Runs the cells of a notebook in the project's Python, whatever Python its kernel has.

TensorFlow Federated needs CPython 3.10 or 3.11. The kernel of Colab is newer. `use` makes the
project's own environment (.venv) with scripts/setup, starts a second kernel with it, and sends each
following cell there. What that kernel prints, shows or raises appears below the cell as usual.

This file runs in the notebook's kernel, so it needs nothing but what every IPython kernel has.
"""

import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from typing import Any

import IPython
from IPython import display
from jupyter_client import kernelspec, manager

_SPEC = (
    '{{"argv": ["{python}", "-m", "ipykernel_launcher", "-f", "{{connection_file}}"],'
    ' "display_name": "tff_nlp", "language": "python"}}'
)
# Variables of the notebook's kernel that would mislead the other Python.
_OWN_VARIABLES = ("MPLBACKEND", "PYTHONHOME", "PYTHONPATH", "VIRTUAL_ENV")
_SENT = "get_ipython().run_cell_magic('project_python', '', "


def use(root: pathlib.Path) -> None:
    """Makes the project's Python if it is missing, and sends the following cells to it.

    Args:
      root: Folder of the project.

    Raises:
      RuntimeError: If the environment cannot be made. The message says why.
    """
    python = root / ".venv" / "bin" / "python"
    _set_up(root)
    kernel = _Kernel(python)
    shell = IPython.get_ipython()

    def project_python(line: str, cell: str) -> None:
        kernel.run(cell)

    def send(lines: list[str]) -> list[str]:
        code = "".join(lines)
        if not code.strip() or code.startswith(_SENT):
            return lines
        return [f"{_SENT}{code!r})\n"]

    shell.register_magic_function(project_python, "cell")
    shell.input_transformers_cleanup.append(send)
    print("The following cells run in the project's own Python.")


def _set_up(root: pathlib.Path) -> None:
    """Calls scripts/setup. If there is no Python 3.11, uv brings one."""
    variables = {name: os.environ[name] for name in os.environ if name not in _OWN_VARIABLES}
    variables["EXTRAS"] = "notebooks"
    if not (root / ".venv").exists() and shutil.which("python3.11") is None:
        if shutil.which("uv") is None:
            _call([sys.executable, "-m", "pip", "install", "--quiet", "uv"], variables)
        _call(["uv", "python", "install", "3.11"], variables)
        variables["PYTHON"] = _call(["uv", "python", "find", "3.11"], variables).strip()
    print("Making the project's Python, unless it is there. The first time takes some minutes.")
    _call([str(root / "scripts" / "setup")], variables)


def _call(command: list[str], variables: Mapping[str, str]) -> str:
    done = subprocess.run(command, env=dict(variables), capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)} failed:\n{done.stderr}")
    return done.stdout


class _OtherKernelError(Exception):
    """An error in the other kernel, with the traceback that it sent."""

    def __init__(self, content: Mapping[str, Any]) -> None:
        super().__init__(f"{content['ename']}: {content['evalue']}")
        self._lines = list(content["traceback"])

    def _render_traceback_(self) -> list[str]:
        return self._lines


class _Kernel:
    """A kernel with another Python. It works in this kernel's folder and ends with it."""

    def __init__(self, python: pathlib.Path) -> None:
        self._folder = tempfile.TemporaryDirectory()
        spec = pathlib.Path(self._folder.name) / "tff_nlp" / "kernel.json"
        spec.parent.mkdir()
        spec.write_text(_SPEC.format(python=python.absolute()))
        specs = kernelspec.KernelSpecManager(kernel_dirs=[self._folder.name])
        self._manager = manager.KernelManager(
            kernel_name="tff_nlp", kernel_spec_manager=specs, transport="ipc"
        )
        variables = {name: os.environ[name] for name in os.environ if name not in _OWN_VARIABLES}
        self._manager.start_kernel(env=variables)
        self._client = self._manager.blocking_client()
        self._client.start_channels()
        self._client.wait_for_ready(timeout=120)

    def run(self, code: str) -> None:
        """Runs a cell, and shows its outputs in this kernel.

        Raises:
          _OtherKernelError: If the cell fails.
        """
        errors: list[Mapping[str, Any]] = []

        def show(message: Mapping[str, Any]) -> None:
            kind, content = message["msg_type"], message["content"]
            if kind == "stream":
                stream = sys.stdout if content["name"] == "stdout" else sys.stderr
                stream.write(content["text"])
                stream.flush()
            elif kind in ("display_data", "execute_result"):
                display.publish_display_data(content["data"], content["metadata"])
            elif kind == "error":
                errors.append(content)

        try:
            self._client.execute_interactive(code, allow_stdin=False, output_hook=show)
        except KeyboardInterrupt:
            self._manager.interrupt_kernel()
            raise
        if errors:
            raise _OtherKernelError(errors[0])
