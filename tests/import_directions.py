"""Who may import whom, read from the code's own imports, and the manners that a tree shows.

The rules are the table of rooms in the design: data flows from corpora to experiments, and no room
imports one that comes later or one whose weight (TensorFlow, TFF) it does not need.
"""

import ast
import dataclasses
import pathlib
import sys
from collections.abc import Iterator

MAX_LINES = 450
VAGUE_NAMES = frozenset({"utils", "util", "helpers", "helper", "common", "misc"})

# What every room may import from the package itself.
SHARED = frozenset({"durable_files", "errors", "printable", "seeds", "silence_libraries"})

TFF = frozenset({"tensorflow_federated", "tensorflow_privacy", "dp_accounting"})
NUMPY = frozenset({"numpy"})
PROGRESS = frozenset({"tqdm"})
PLOT = frozenset({"matplotlib"})


@dataclasses.dataclass(frozen=True)
class Room:
    """What the files of one folder may import.

    Attributes:
      rooms: Other rooms of the package.
      only: Third-party packages, when the list is closed.
      never: Third-party packages that are refused, when the list is open.
      in_functions: Packages that are allowed too, but only inside a function that needs them.
      files: Packages that a single file is allowed too, by its name.
    """

    rooms: frozenset[str] = frozenset()
    only: frozenset[str] | None = None
    never: frozenset[str] = frozenset()
    in_functions: frozenset[str] = frozenset()
    files: dict[str, frozenset[str]] = dataclasses.field(default_factory=dict)


ROOMS = {
    "corpora": Room(only=NUMPY, in_functions=frozenset({"tensorflow_datasets"})),
    "clients": Room(
        rooms=frozenset({"corpora"}),
        only=NUMPY | PLOT | PROGRESS,
        files={"client_data.py": frozenset({"tensorflow", "tensorflow_federated"})},
    ),
    "models": Room(never=TFF | {"ray"}),
    "tasks": Room(
        rooms=frozenset({"models"}),
        never=(TFF - {"tensorflow_federated"}) | {"keras_nlp", "ray"},
    ),
    "aggregation": Room(rooms=frozenset({"privacy"}), never=frozenset({"keras_nlp"})),
    "privacy": Room(rooms=frozenset({"aggregation"}), never=frozenset({"keras_nlp"})),
    "learning": Room(
        rooms=frozenset({"tasks", "aggregation", "privacy"}), never=frozenset({"keras_nlp"})
    ),
    "execution": Room(never=frozenset({"keras", "keras_nlp", "tensorflow_privacy"})),
    "program": Room(
        rooms=frozenset({"clients", "privacy", "execution"}),
        never=frozenset({"keras_nlp"}),
    ),
    "runs": Room(
        rooms=frozenset(
            {
                "aggregation",
                "clients",
                "corpora",
                "execution",
                "learning",
                "models",
                "privacy",
                "program",
                "serving",
                "tasks",
            }
        ),
    ),
    "serving": Room(rooms=frozenset({"models"}), never=TFF | {"ray"}),
}


@dataclasses.dataclass(frozen=True)
class Import:
    """One imported name: its full dotted path, where it stands, whether inside a function."""

    name: str
    line: int
    in_function: bool

    @property
    def top(self) -> str:
        return self.name.partition(".")[0]


def imports_of(tree: ast.AST, package: str) -> Iterator[Import]:
    """Yields what a module imports, relative imports resolved against its package."""

    def visit(node: ast.AST, in_function: bool) -> Iterator[Import]:
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield Import(alias.name, node.lineno, in_function)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parents = package.split(".")
                base = ".".join([*parents[: len(parents) - node.level + 1], *filter(None, [base])])
            for alias in node.names:
                yield Import(f"{base}.{alias.name}", node.lineno, in_function)
        inner = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        for child in ast.iter_child_nodes(node):
            yield from visit(child, in_function or inner)

    return visit(tree, in_function=False)


def refusal(found: Import, room_name: str | None, file_name: str) -> str | None:
    """Returns why a file of a room may not import something, or None.

    Args:
      found: The import.
      room_name: The room the file lies in; None for the files beside the rooms.
      file_name: The file's name, for the exceptions that single files have.
    """
    if found.top in {"experiments", "scripts", "tests"}:
        return f"the package never imports {found.top}"
    if found.top == "tff_nlp":
        target = found.name.split(".")[1] if "." in found.name else ""
        if room_name is None:
            return f"a file beside the rooms imports {target}" if target in ROOMS else None
        if target in ROOMS and target != room_name and target not in ROOMS[room_name].rooms:
            return f"{room_name} may not import {target}"
        if target not in ROOMS and target not in SHARED:
            return f"{room_name} may import {', '.join(sorted(SHARED))} from beside the rooms"
        return None
    if found.name.startswith(("absl.flags", "absl.app")) or found.top == "argparse":
        return "only experiments own flags"
    if found.name == "sys.argv":
        return "only experiments read the command line"
    if room_name is None or found.top in sys.stdlib_module_names:
        return None
    room = ROOMS[room_name]
    if found.top in room.files.get(file_name, ()):
        return None
    if found.top in room.in_functions:
        return None if found.in_function else f"{found.top} only inside the function that needs it"
    if found.top in room.never or (room.only is not None and found.top not in room.only):
        return f"{room_name} may not import {found.top}"
    return None


def argv_uses(tree: ast.AST) -> Iterator[int]:
    """Yields the lines that read `sys.argv`."""
    for node in ast.walk(tree):
        if (
            isinstance(node, ast.Attribute)
            and node.attr == "argv"
            and isinstance(node.value, ast.Name)
            and node.value.id == "sys"
        ):
            yield node.lineno


def package_violations(root: pathlib.Path) -> list[str]:
    """Returns "file:line: reason" for each import under root/tff_nlp that the rules refuse."""
    violations = []
    for path in sorted((root / "tff_nlp").rglob("*.py")):
        relative = path.relative_to(root)
        inside = relative.parts[1:]
        room = inside[0] if len(inside) > 1 else None
        if room is not None and room not in ROOMS:
            violations.append(f"{relative}:1: the folder {room} is no room of the design")
            continue
        tree = ast.parse(path.read_text(encoding="utf-8"), str(relative))
        for found in imports_of(tree, ".".join(relative.parts[:-1])):
            reason = refusal(found, room, path.name)
            if reason:
                violations.append(f"{relative}:{found.line}: {reason}")
        violations += [
            f"{relative}:{line}: only experiments read the command line" for line in argv_uses(tree)
        ]
    return violations


def manner_violations(root: pathlib.Path) -> list[str]:
    """Returns "file: reason" for vague names and files with more than one subject's length."""
    violations = []
    for folder in ("tff_nlp", "experiments", "scripts", "tests"):
        for path in sorted((root / folder).rglob("*.py")):
            relative = path.relative_to(root)
            words = {part.removesuffix(".py") for part in relative.parts}
            if words & VAGUE_NAMES or any(word.endswith(("_utils", "_util")) for word in words):
                violations.append(f"{relative}: the name does not say the subject")
            lines = len(path.read_text(encoding="utf-8").splitlines())
            if folder != "tests" and lines > MAX_LINES:
                violations.append(f"{relative}: {lines} lines, more than {MAX_LINES}")
    return violations
