"""Measures a classifier in each exported format. Run it by scripts/benchmark_exports.

  scripts/benchmark_exports --run=runs/demo --file=test.tsv --text_column=sentence \
    --label_column=label --prune=0.5 --json=exports.json

All models are loaded in one process and take turns, text by text, so that a busy machine slows all
of them. A time is from texts to labels, with the tokenizer: the median over the repetitions, of one
text and of 32. The size is that of the model's files, without vocabulary and tokenizer. Models that
are exported already, such as a student, are measured beside them with --folders.
"""

import dataclasses
import json
import pathlib
import statistics
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from absl import flags

from experiments.command_line import entry
from experiments.flags import groups
from tff_nlp.corpora import load
from tff_nlp.corpora.corpus import Corpus
from tff_nlp.corpora.source import CorpusSource
from tff_nlp.runs import checks, data
from tff_nlp.runs.configs.export import Export, ExportConfig
from tff_nlp.runs.configs.reading import ReadingConfig
from tff_nlp.runs.options import option
from tff_nlp.serving import formats, model_folder

FLAGS = flags.FlagValues()
MANY = 32


@dataclasses.dataclass(frozen=True)
class BenchmarkFlags:
    """What to measure."""

    run: str = option("", "Folder of a finished run of a classifier.", path=True)
    file: str = option("", "Labelled test texts.", path=True)
    label_column: str = option("", "Column of the label.")
    label_map: str = option("", "New names of labels, as in train.py.")
    formats: str = option(
        "savedmodel/float32,onnx/float32,onnx/float16,onnx/int8,tflite/float32,tflite/float16,"
        "tflite/int8",
        "Formats to export, each with a slash and its precision, separated by commas.",
    )
    prune: float = option(0.0, "Also export the tflite and onnx models with these zeros.")
    folders: str = option("", "Exported models to measure as well, separated by commas.", path=True)
    repetitions: int = option(20, "Number of times that each model labels one text, and 32.")
    json: str = option("", "File for the figures: a list of objects, one per row.", path=True)

    def __post_init__(self) -> None:
        for name in ("run", "file"):
            if not getattr(self, name):
                checks.refuse_missing(name)
        checks.at_least(1, "repetitions", self.repetitions)

    def exports(self) -> Iterator[tuple[str, str, float]]:
        """Yields format, precision and pruned share of each export."""
        for part in self.formats.split(","):
            name, _, precision = part.strip().partition("/")
            yield name, precision, 0.0
            if self.prune and name in formats.PACKED:
                yield name, precision, self.prune


@dataclasses.dataclass(frozen=True)
class Row:
    """The figures of a model.

    Attributes:
      model: Format, precision and pruned share, or the folder.
      megabytes: Size of its files.
      accuracy: Share of the test texts that get their label.
      one_ms: Median milliseconds for one text.
      many_ms: Median milliseconds for 32 texts.
    """

    model: str
    megabytes: float
    accuracy: float
    one_ms: float
    many_ms: float


def measure(folders: Mapping[str, pathlib.Path], corpus: Corpus, repetitions: int) -> list[Row]:
    """Returns a row for each exported model.

    Args:
      folders: Folders of exported models by their names.
      corpus: Labelled texts.
      repetitions: Number of measurements of each time.
    """
    from tff_nlp.serving import any_model

    models = {name: any_model.load(folder) for name, folder in folders.items()}
    # Equally spaced texts, so that all lengths occur.
    places = np.linspace(0, len(corpus) - 1, repetitions * MANY).astype(int)
    texts = [corpus.examples[place] for place in places]
    found = {name: _labels(model, corpus) for name, model in models.items()}
    seconds: dict[str, tuple[list[float], list[float]]] = {name: ([], []) for name in models}
    for number in range(repetitions):
        batch = texts[number * MANY : (number + 1) * MANY]
        for name, model in models.items():
            for kept, given in zip(seconds[name], (batch[:1], batch), strict=True):
                began = time.perf_counter()
                model.predict(given, batch_size=MANY)
                kept.append(time.perf_counter() - began)
    return [
        Row(
            model=name,
            megabytes=_size(folders[name]) / 1e6,
            accuracy=float(np.mean(found[name] == corpus.labels)),
            one_ms=1000 * statistics.median(seconds[name][0]),
            many_ms=1000 * statistics.median(seconds[name][1]),
        )
        for name in models
    ]


def table(rows: Sequence[Row]) -> list[str]:
    """Returns the lines of the table."""
    lines = [f"{'model':28} {'MB':>8} {'accuracy':>9} {'1 text ms':>10} {f'{MANY} texts ms':>12}"]
    lines += [
        f"{row.model:28} {row.megabytes:8.2f} {100 * row.accuracy:8.1f}% {row.one_ms:10.1f} "
        f"{row.many_ms:12.1f}"
        for row in rows
    ]
    return lines


def _labels(model: Any, corpus: Corpus) -> np.ndarray:
    numbers = {name: number for number, name in enumerate(corpus.label_names)}
    return np.array([numbers.get(label, -1) for label in model.predict(corpus.examples).labels])


def _size(folder: pathlib.Path) -> int:
    """Returns the bytes of a model's own files."""
    names = {model_folder.ONNX, model_folder.TFLITE}
    names |= {f"{name}{model_folder.PACKED}" for name in names}
    own = [folder / name for name in names if (folder / name).exists()]
    files = own or [path for path in folder.rglob("*") if path.is_file()]
    return sum(path.stat().st_size for path in files)


def main() -> None:
    """Exports, measures, prints the table, and writes the rows to the file of --json."""
    chosen = groups.parse(BenchmarkFlags, FLAGS)
    source = CorpusSource(
        path=chosen.file,
        label_column=chosen.label_column,
        label_map=chosen.label_map,
        **data.reading(groups.parse(ReadingConfig, FLAGS)),
    )
    corpus = load.load_corpus(source).corpus
    from tff_nlp.runs import exporting

    with tempfile.TemporaryDirectory() as place:
        folders = {}
        for name, precision, prune in chosen.exports():
            title = f"{name} {precision}" + (f", {prune:g} pruned" if prune else "")
            output = pathlib.Path(place) / title.replace(" ", "_")
            exporting.export(Export(ExportConfig(chosen.run, name, str(output), precision, prune)))
            folders[title] = model_folder.of_run(output, "run")
        for folder in filter(None, chosen.folders.split(",")):
            folders[folder] = model_folder.of_run(pathlib.Path(folder), "folders")
        rows = measure(folders, corpus, chosen.repetitions)
    print("\n".join(table(rows)), flush=True)
    if chosen.json:
        text = json.dumps([dataclasses.asdict(row) for row in rows], indent=2)
        pathlib.Path(chosen.json).write_text(text + "\n", encoding="utf-8")


for _group in (BenchmarkFlags, ReadingConfig):
    groups.define(_group, FLAGS)

if __name__ == "__main__":
    entry.run(main, FLAGS)
