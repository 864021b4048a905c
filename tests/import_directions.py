"""Checks which room imports which, and the names and lengths of files.

A room is a subpackage. Data flows from corpora to experiments, so no room imports a later room. A
room that does not need a large library (TensorFlow, TFF) imports no room that needs it.
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
    """The imports that are allowed in the files of one folder.

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
                "deployment",
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
    "deployment": Room(
        rooms=frozenset({"aggregation", "execution", "program"}),
        never=frozenset({"keras", "keras_nlp", "ray"}),
    ),
}


@dataclasses.dataclass(frozen=True)
class Import:
    """One imported name: its full dotted path, its line, and whether it is inside a function."""

    name: str
    line: int
    in_function: bool

    @property
    def top(self) -> str:
        return self.name.partition(".")[0]


def imports_of(tree: ast.AST, package: str) -> Iterator[Import]:
    """Yields the imports of a module. Relative imports are resolved against its package."""

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
      room_name: The room of the file. None for files outside of the rooms.
      file_name: The name of the file, because single files have exceptions.
    """
    if found.top in {"experiments", "benchmarks", "scripts", "tests"}:
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
    """Returns "file:line: reason" for each import under root/tff_nlp that is not allowed."""
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


# Who may import whom outside of the package.
_OUTSIDE = {
    "experiments": frozenset({"tff_nlp", "experiments"}),
    "benchmarks": frozenset({"tff_nlp", "experiments", "benchmarks"}),
    "tests": frozenset({"tff_nlp", "experiments", "benchmarks", "tests"}),
}


def outside_violations(root: pathlib.Path) -> list[str]:
    """Returns "file:line: reason" for the imports of scripts, benchmarks and tests."""
    violations = []
    for folder, allowed in _OUTSIDE.items():
        for path in sorted((root / folder).rglob("*.py")):
            relative = path.relative_to(root)
            package = ".".join(relative.parts[:-1])
            for found in imports_of(ast.parse(path.read_text(encoding="utf-8")), package):
                if found.top in _OUTSIDE and found.top not in allowed:
                    violations.append(
                        f"{relative}:{found.line}: {folder} may not import {found.top}"
                    )
                if folder == "experiments" and found.top in TFF | {"tensorflow", "keras_nlp"}:
                    violations.append(f"{relative}:{found.line}: scripts leave {found.top} to runs")
    return violations


def circles(root: pathlib.Path) -> list[list[str]]:
    """Returns the groups of files that import each other in a circle.

    Imports inside functions count, and those for the type checker.
    """
    files = {}
    for folder in ("tff_nlp", *_OUTSIDE):
        for path in sorted((root / folder).rglob("*.py")):
            parts = path.relative_to(root).with_suffix("").parts
            files[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    graph = {}
    for name, path in files.items():
        package = name if path.name == "__init__.py" else name.rpartition(".")[0]
        found = imports_of(ast.parse(path.read_text(encoding="utf-8")), package)
        targets = {_file_of(imported.name, files) for imported in found} - {None, name}
        graph[name] = {target for target in targets if not name.startswith(f"{target}.")}
    return [sorted(group) for group in _strongly_connected(graph) if len(group) > 1]


def _file_of(name: str, files: dict[str, pathlib.Path]) -> str | None:
    """Returns the module that an imported name is, or stands in."""
    return next((n for n in (name, name.rpartition(".")[0]) if n in files), None)


def _strongly_connected(graph: dict[str, set[str]]) -> Iterator[set[str]]:
    """Yields the strongly connected components (each node reaches the others and back)."""
    reached = {node: _reachable(graph, node) for node in graph}
    left = set(graph)
    while left:
        node = left.pop()
        group = {other for other in reached[node] & left if node in reached[other]}
        left -= group
        yield {node, *group}


def _reachable(graph: dict[str, set[str]], start: str) -> set[str]:
    seen, waiting = set(), [start]
    while waiting:
        for target in graph[waiting.pop()] - seen:
            seen.add(target)
            waiting.append(target)
    return seen


def naming_violations(root: pathlib.Path) -> list[str]:
    """Returns "file: reason" for files with vague names and for files that are too long."""
    violations = []
    for folder in ("tff_nlp", "experiments", "benchmarks", "scripts", "tests"):
        for path in sorted((root / folder).rglob("*.py")):
            relative = path.relative_to(root)
            words = {part.removesuffix(".py") for part in relative.parts}
            if words & VAGUE_NAMES or any(word.endswith(("_utils", "_util")) for word in words):
                violations.append(f"{relative}: the name does not say the subject")
            lines = len(path.read_text(encoding="utf-8").splitlines())
            if folder != "tests" and lines > MAX_LINES:
                violations.append(f"{relative}: {lines} lines, more than {MAX_LINES}")
    return violations
