"""A paper as values: its published tables, its settings, and how our runs depart from them."""

import dataclasses
import glob
import pathlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from tff_nlp import errors
from tff_nlp.runs import configs, options

SCALES = ("smoke", "small", "full")
_NOT_STATED = "not stated"
# The options that name files below `data_dir`.
_CORPORA = ("corpus", "test_corpus", "public_corpus")


@dataclasses.dataclass(frozen=True)
class Change:
    """An option of our runs that differs from the paper's setting.

    Attributes:
      option: Name of the option.
      value: The value here.
      why: The reason, a clause.
      where: Settings of the cells for which it holds; empty for all cells.
    """

    option: str
    value: Any
    why: str
    where: Mapping[str, Any] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Departure:
    """A difference between the paper's experiment and ours.

    Attributes:
      what: An option, or what else differs.
      paper: What the paper does.
      here: What we do.
      why: The reason.
      cells: The cells for which it holds; empty for all.
    """

    what: str
    paper: str
    here: str
    why: str
    cells: tuple[str, ...] = ()


def accuracy(result: Mapping[str, Any]) -> float:
    """Returns the test accuracy of a run in percent."""
    return 100 * float(result["test"]["accuracy"])


def bytes_up(result: Mapping[str, Any]) -> float:
    """Returns the megabytes of a client's update."""
    return float(result["bytes_per_client"]["up"]) / 1e6


@dataclasses.dataclass(frozen=True, eq=False)
class Cell:
    """A number of a table.

    Attributes:
      row: Name of its row.
      column: Name of its column.
      published: The published number; None if the paper prints none.
      settings: The paper's settings that differ from cell to cell, by option.
      changes: Our departures in this cell, at every scale.
      value: Reads the number from a run's result.json, or, with `attack`, from text_attack.json.
      is_central: Whether the run is central training.
      attack: Options of an attack on the finished run (`configs.InversionConfig`); None without.
      compute: Computes the number without a run.
    """

    row: str
    column: str
    published: float | None = None
    settings: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    changes: Sequence[Change] = ()
    value: Callable[[Mapping[str, Any]], float] = accuracy
    is_central: bool = False
    attack: Mapping[str, Any] | None = None
    compute: Callable[[], float] | None = None


@dataclasses.dataclass(frozen=True, eq=False)
class Table:
    """A published table.

    Attributes:
      title: Its title, with the number in the paper.
      rows: What the rows are.
      columns: What the columns are.
      unit: Unit of the numbers.
      cells: The numbers.
      digits: Number of digits after the point.
      exact: Whether our numbers must be equal to the published ones, to the printed digit.
      higher: Pairs of (row, column) of which the paper says, without a number, that the first is
        the larger one.
      compares: Whether the paper compares "rows" or "columns"; empty for no comparison.
      published: What the published numbers are: "published", "recalled" for numbers that were not
        checked again, or "at least".
    """

    title: str
    rows: str
    columns: str
    unit: str
    cells: Sequence[Cell]
    digits: int = 1
    exact: bool = False
    higher: Sequence[tuple[tuple[str, str], tuple[str, str]]] = ()
    compares: str = "rows"
    published: str = "published"


@dataclasses.dataclass(frozen=True)
class File:
    """A file that a person brings.

    Attributes:
      path: Path or glob pattern below `data_dir`.
      source: Where it comes from.
    """

    path: str
    source: str


@dataclasses.dataclass(frozen=True)
class Scale:
    """How large the runs are.

    Attributes:
      changes: Departures of all cells at this scale.
      seeds: The seeds of each cell.
      cost: How long it takes, in words.
    """

    changes: Sequence[Change]
    seeds: Sequence[int]
    cost: str


@dataclasses.dataclass(frozen=True, eq=False)
class Paper:
    """A paper.

    Attributes:
      title: Title of the page.
      citation: Authors, title, year, and address.
      source: Where the published numbers were read.
      tables: The tables.
      scales: The scales, by name of `SCALES`; empty if nothing is trained.
      settings: The paper's settings of all cells, by option.
      files: The files that a person brings.
      departures: What differs besides options.
      findings: Sentences about what our numbers show, for the page.
    """

    title: str
    citation: str
    source: str
    tables: Sequence[Table]
    scales: Mapping[str, Scale] = dataclasses.field(default_factory=dict)
    settings: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    files: Sequence[File] = ()
    departures: Sequence[Departure] = ()
    findings: Sequence[str] = ()

    def cells(self) -> Iterator[tuple[str, Table, Cell]]:
        """Yields the name of each cell, its table, and the cell."""
        for number, table in enumerate(self.tables, start=1):
            for cell in table.cells:
                yield f"{number}: {cell.row}, {cell.column}", table, cell

    def scale(self, name: str) -> Scale:
        """Returns a scale. Papers that train nothing have one for all names."""
        return self.scales[name] if self.scales else Scale((), (0,), "seconds")


def changes_of(paper: Paper, cell: Cell, scale: str) -> dict[str, Change]:
    """Returns the options of a cell that differ from the paper's settings, by option.

    Args:
      paper: The paper.
      cell: One of its cells, with a run.
      scale: Name of the scale.

    Raises:
      ValueError: If an option exists in no configuration of this kind of run.
    """
    known = defaults(cell)
    given = {**paper.settings, **cell.settings}
    changed = {
        change.option: change
        for change in (*cell.changes, *paper.scale(scale).changes)
        if change.where.items() <= given.items()
    }
    # A scale has the changes of both kinds of runs.
    anywhere = known.keys() | defaults(dataclasses.replace(cell, is_central=not cell.is_central))
    unknown = {*cell.settings} - known.keys() | {*changed} - anywhere
    if unknown:
        raise ValueError(f"{cell.row}, {cell.column}: there is no option {min(unknown)}")
    return {
        name: change
        for name, change in changed.items()
        # What the paper does not state departs from it, also where it is our default.
        if name in known and (name not in given or change.value != given[name])
    }


def settings_of(paper: Paper, cell: Cell, scale: str) -> dict[str, Any]:
    """Returns the options that a cell's run gets, with our changes. The others keep their defaults.

    Args:
      paper: The paper.
      cell: One of its cells, with a run.
      scale: Name of the scale.
    """
    changes = changes_of(paper, cell, scale)
    ours = {name: change.value for name, change in changes.items()}
    return {**paper.settings, **cell.settings, **ours}


def corpora_of(paper: Paper, cell: Cell, scale: str) -> dict[str, str]:
    """Returns the corpora that a cell's run reads: option -> path or glob below `data_dir`.

    Args:
      paper: The paper.
      cell: One of its cells, with a run.
      scale: Name of the scale.
    """
    given = settings_of(paper, cell, scale)
    return {name: given[name] for name in _CORPORA if given.get(name)}


def config_of(
    paper: Paper, cell: Cell, scale: str, *, seed: int, data_dir: pathlib.Path, output_dir: str
) -> configs.FederatedRun | configs.CentralRun:
    """Returns the configuration of a cell's run.

    Args:
      paper: The paper.
      cell: One of its cells, with a run.
      scale: Name of the scale.
      seed: Seed of the run.
      data_dir: Folder of the corpora.
      output_dir: Folder of the run.
    """
    values = settings_of(paper, cell, scale)
    for name, path in corpora_of(paper, cell, scale).items():
        # The folder's own brackets must not count as a pattern.
        values[name] = f"{glob.escape(str(data_dir))}/{path}"
    # Only the final scores count, so no time is spent on others.
    values["eval_every"] = values.get("rounds", defaults(cell).get("rounds"))
    values |= {"seed": seed, "output_dir": output_dir}
    groups = {}
    for name, group in _groups(cell).items():
        own = {field.name for field in dataclasses.fields(group)}
        groups[name] = group(**{n: v for n, v in values.items() if n in own})
    return _kind(cell)(**groups)


def defaults(cell: Cell) -> dict[str, Any]:
    """Returns the default of each option of a cell's run."""
    return {
        option.name: option.default
        for group in _groups(cell).values()
        for option in dataclasses.fields(group)
    }


def _groups(cell: Cell) -> dict[str, Any]:
    """Returns the types of the groups of options of a cell's run, by field."""
    return options.groups_of(_kind(cell))


def _kind(cell: Cell) -> type[configs.FederatedRun] | type[configs.CentralRun]:
    return configs.CentralRun if cell.is_central else configs.FederatedRun


def departures_of(paper: Paper, scale: str) -> list[Departure]:
    """Returns all differences between the paper's experiments and ours, each once."""
    found: dict[tuple[str, str, str, str], list[str]] = {}
    trained = [(name, cell) for name, _, cell in paper.cells() if cell.compute is None]
    for name, cell in trained:
        given = {**paper.settings, **cell.settings}
        for change in changes_of(paper, cell, scale).values():
            published = given.get(change.option, _NOT_STATED)
            key = (change.option, _shown(published), _shown(change.value), change.why)
            found.setdefault(key, []).append(name)
    ours = [
        Departure(*key, cells=() if len(names) == len(trained) else tuple(names))
        for key, names in found.items()
    ]
    return [*paper.departures, *ours]


def check_files(paper: Paper, data_dir: pathlib.Path) -> None:
    """Checks that the corpora are there.

    Raises:
      UserError: If a file is missing. The message says where it comes from.
    """
    for file in paper.files:
        if not any(data_dir.glob(file.path)):
            raise errors.UserError(
                f"{errors.setting('data_dir', data_dir)}: {file.path} is missing; it comes from "
                f"{file.source}"
            )


def _shown(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "none" if value in ("", None) else str(value)


_TINY = "a tiny network that begins at random, to see that everything works"
# The changes of the scale "smoke": a path through the whole program in seconds.
SMOKE = (
    *(
        Change(option, value, _TINY)
        for option, value in {
            "encoder": "random",
            "encoder_layers": 1,
            "encoder_width": 16,
            "encoder_heads": 1,
            "vocabulary_size": 300,
        }.items()
    ),
    Change("rounds", 1, "to see that everything works"),
    Change("epochs", 1, "to see that everything works"),
)
MINILM = Change("encoder", "minilm", "the only pretrained BERT that comes from a package index")
