"""Runs one file of TFF's own test suite under one of our execution contexts.

    python tests/execution/tff_suite.py TREE FILE [--context=streaming]

TREE is an unpacked source tree of TFF v0.87.0, and FILE is the path of a test file in it. When the
file sets one of TFF's contexts, our context is set instead. Modules that only the source tree has
(shared by TFF's tests) are read from the tree. All other modules are from the installed package.
"""

import argparse
import importlib.machinery
import importlib.util
import pathlib
import runpy
import signal
import sys
from collections.abc import Sequence
from types import ModuleType
from typing import Any

import tensorflow_federated as tff

from tff_nlp.execution import contexts

_IMPL = "tensorflow_federated.python.core.backends"


class _TreeFinder:
    """Finds modules of the package that are in the source tree and not in the installed wheel."""

    def __init__(self, tree: pathlib.Path) -> None:
        self._tree = tree

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if not name.startswith(("tensorflow_federated.", "examples")):
            return None
        first, *others = name.split(".")
        if first not in ("tensorflow_federated", "examples"):
            # The examples of v0.87.0 import each other without a dot: examplesprogram.
            others.insert(0, first.removeprefix("examples"))
            first = "examples"
        folder = self._tree.joinpath(first, *others)
        file = folder.with_suffix(".py")
        if file.is_file():
            return importlib.util.spec_from_file_location(name, file)
        if folder.is_dir():
            spec = importlib.machinery.ModuleSpec(name, None, is_package=True)
            spec.submodule_search_locations = [str(folder)]
            return spec
        return None


class _Lazy(tff.framework.SyncContext):
    """One of our contexts, made at its first use, as some files configure devices before that."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._context: tff.framework.SyncContext | None = None

    def invoke(self, comp: tff.framework.ConcreteComputation, arg: Any) -> Any:
        """Runs a computation. TFF calls this method."""
        if self._context is None:
            before = tff.framework.get_context_stack().current
            self._context = contexts.install(self._name)
            tff.framework.set_default_context(before)
        return self._context.invoke(comp, arg)


def _use_context(context: tff.framework.SyncContext) -> None:
    """Replaces the functions that set or make one of TFF's synchronous contexts."""

    def create(*_: Any, **__: Any) -> tff.framework.SyncContext:
        return context

    def install(*_: Any, **__: Any) -> None:
        tff.framework.set_default_context(context)

    for kind, name in (
        ("native", "sync_local_cpp"),
        ("native", "mergeable_comp"),
        ("test", "sync_test_cpp"),
    ):
        module = importlib.import_module(f"{_IMPL}.{kind}.execution_contexts")
        for owner in (module, getattr(tff.backends, kind)):
            setattr(owner, f"create_{name}_execution_context", create)
            setattr(owner, f"set_{name}_execution_context", install)
    install()


def main() -> None:
    """Runs the file as a program."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("tree", type=pathlib.Path)
    parser.add_argument("file")
    parser.add_argument("--context", default="streaming", choices=contexts.CONTEXTS)
    arguments, rest = parser.parse_known_args()
    # TFF ends its workers with SIGINT, but processes in the background of a shell ignore SIGINT.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    sys.meta_path.append(_TreeFinder(arguments.tree))  # type: ignore[arg-type]
    if arguments.context != "tff":
        _use_context(_Lazy(arguments.context))
    path = arguments.tree / arguments.file
    sys.argv = [str(path), *rest]
    runpy.run_path(str(path), run_name="__main__")


if __name__ == "__main__":
    main()
