"""Compares the speed of federated rounds and central training. Run it by scripts/benchmark_rounds.

  scripts/benchmark_rounds --shapes=tiny_10x64,tiny_40x16 --contexts=fit,streaming --json=out.json
  scripts/benchmark_rounds --shapes=tiny_10x16,tiny_1000x16 --contexts=streaming --rounds=2
  scripts/benchmark_rounds --shapes=base_100x8 --contexts=streaming --rounds=1 --passes=1

A shape is <size>_<clients>x<examples per client>. The size of the BERT is tiny (2 layers, 128 wide,
4.4 M parameters), minilm (6, 384, 22.6 M) or base (12, 768, 109.5 M). Sequences have 64 tokens,
batches have 16 examples, all weights train with SGD, and dropout is 0.1. One round is one pass over
the cohort's examples. Every measurement runs in a separate process.
"""

import dataclasses
import importlib.util
import json
import os
import pathlib
import signal
import sys
from typing import Any

from absl import flags

from benchmarks import contenders, examples, figures, passes, shapes, table, targets
from benchmarks.shapes import Shape
from experiments.command_line import entry
from experiments.flags import groups
from tff_nlp.errors import RunError, UserError
from tff_nlp.runs.options import option

FLAGS = flags.FlagValues()
_DEFAULT_SHAPES = "tiny_10x64,tiny_40x16,minilm_10x32,base_4x8"


@dataclasses.dataclass(frozen=True)
class BenchmarkFlags:
    """What to measure, and how often."""

    shapes: str = option(_DEFAULT_SHAPES, "Shapes, separated by commas.")
    contexts: str = option(
        ",".join(contenders.DEFAULT_CONTEXTS),
        f"Contexts, separated by commas. Possible are {', '.join(contenders.CONTEXTS)}.",
    )
    json: str = option("", "File for the figures: a list of objects, one per shape and context.")
    passes: int = option(2, "Number of passes. Each pass measures every context once.")
    rounds: int = option(5, "Number of measured rounds per context and pass.")
    warm_up: int = option(2, "Number of rounds before them that are not measured.")
    token_ids: str = option(
        "uniform",
        "Distribution of the random token ids. uniform is the hardest for sparse updates.",
        examples.DISTRIBUTIONS,
    )

    def __post_init__(self) -> None:
        for name in ("passes", "rounds", "warm_up"):
            if getattr(self, name) < 1:
                raise UserError(f"--{name}={getattr(self, name)}: must be 1 or more")
        self.parsed_shapes()
        self.parsed_contexts()
        if self.json and not pathlib.Path(self.json).absolute().parent.is_dir():
            raise UserError(f"--json={self.json}: there is no folder to write it to")

    def parsed_shapes(self) -> list[Shape]:
        """Returns the shapes, without duplicates."""
        return [shapes.parse(name) for name in _names(self.shapes, "shapes")]

    def parsed_contexts(self) -> list[str]:
        """Returns the names of the contexts, without duplicates."""
        names = _names(self.contexts, "contexts")
        for name in names:
            if name not in contenders.CONTEXTS:
                raise UserError(
                    f"--contexts={name}: must be one of {', '.join(contenders.CONTEXTS)}"
                )
        return names


groups.define(BenchmarkFlags, FLAGS)


def main() -> None:
    """Runs the script."""
    # Exit normally after SIGTERM, so that the measuring processes are also ended.
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    given = groups.parse(BenchmarkFlags, FLAGS)
    chosen = _available(given.parsed_contexts())
    variants = [variant for name in chosen for variant in contenders.CONTEXTS[name]]
    plan = passes.Plan(given.passes, given.rounds, given.warm_up, given.token_ids)
    _say(f"{len(os.sched_getaffinity(0))} cores; token ids {given.token_ids}")
    everything: list[figures.Figures] = []
    failures: list[str] = []
    records: list[dict[str, Any]] = []
    for shape in given.parsed_shapes():
        outcome = passes.measure(shape, variants, plan, _say)
        found = figures.summarize(shape, outcome.measurements)
        everything += found
        failures += outcome.failures
        records += figures.to_json(found)
        if given.json:
            _write(pathlib.Path(given.json), records)
        notes = "".join(f"\nnot measured: {line}" for line in outcome.too_large)
        print(f"\n{shape.name}\n{table.table(found)}{notes}\n", flush=True)
    for context in dict.fromkeys(f.context for f in everything):
        if context in contenders.DESCRIPTIONS:
            print(f"{context}: {contenders.DESCRIPTIONS[context]}")
    for verdict in targets.judge(everything):
        print(verdict)
    if failures:
        raise RunError(f"{len(failures)} failed: {'; '.join(failures)}")


def _names(flag_value: str, flag_name: str) -> list[str]:
    names = list(dict.fromkeys(filter(None, map(str.strip, flag_value.split(",")))))
    if not names:
        raise UserError(f"--{flag_name}={flag_value}: is empty")
    return names


def _available(contexts: list[str]) -> list[str]:
    """Returns the contexts without Ray if it is not installed, and prints a line about it."""
    if "ray" in contexts and importlib.util.find_spec("ray") is None:
        _say("ray is left out, it is not installed: EXTRAS=ray scripts/setup")
        return [name for name in contexts if name != "ray"]
    return contexts


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _write(path: pathlib.Path, records: list[dict[str, Any]]) -> None:
    """Writes the file in one step, so that it is complete even if the program is stopped."""
    fresh = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        fresh.write_text(json.dumps(records, indent=1) + "\n", encoding="utf-8")
        fresh.replace(path)
    except OSError as error:
        raise UserError(f"--json={path}: {error.strerror or error}") from error


if __name__ == "__main__":
    entry.run(main, FLAGS)
