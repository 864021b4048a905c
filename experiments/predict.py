r"""Labels texts with a trained model.

  experiments/predict.py --run=runs/demo "Not bad at all." "It broke on day two."
  experiments/predict.py --run=runs/demo --file=reviews.csv --text_column=review \
    --output=labelled.csv
  experiments/predict.py --run=runs/demo --file=texts.txt --json > labels.jsonl

Texts are arguments, the rows of --file, or the lines of standard input. Files are read as
experiments/train.py reads them: CSV, TSV, JSON, JSON Lines or a text a line, compressed or not. A
row of the output belongs to each row of the input: a table with the label and its probability in
two more columns, JSON Lines with two more keys, or label, probability and text of plain texts. A
row without a text gets no label.
"""

from experiments import startup  # noqa: F401

# isort: split
import sys

from absl import flags

from experiments import (
    data,
    entry,
    flag_groups,
    labelled_rows,
    paths,
    settings,
)
from tff_nlp.corpora import formats, unlabelled
from tff_nlp.corpora.source import CorpusSource
from tff_nlp.errors import UserError
from tff_nlp.printable import printable
from tff_nlp.serving import model_fingerprint, model_folder

FLAGS = flags.FlagValues()
_OWN = {"flag_values": FLAGS}

flags.DEFINE_string("run", "", "A run's folder, or an exported model's.", **_OWN)
flags.DEFINE_string("file", "", "A file of texts; without a known extension one a line.", **_OWN)
flags.DEFINE_string("output", "", "A new file for the output, instead of the terminal.", **_OWN)
flags.DEFINE_boolean("json", False, "Write JSON with all probabilities.", **_OWN)
flags.DEFINE_integer("batch_size", 64, "Texts at a time.", lower_bound=1, **_OWN)
flag_groups.define(settings.ReadingFlags, FLAGS)


def main(texts: list[str]) -> None:
    """Runs the script on the texts given as arguments."""
    if not FLAGS.run:
        raise UserError("--run is needed: the folder of a run")
    reading = flag_groups.parse(settings.ReadingFlags, FLAGS)
    folder = model_folder.of_run(paths.of_flag("run", FLAGS.run), "--run")
    output = paths.of_flag("output", FLAGS.output) if FLAGS.output else None
    if output is not None:
        labelled_rows.check_new(output)
        paths.check_writable("output", output.parent)
    given = _given(texts, reading)
    labelled_rows.check_columns(given, FLAGS.json)
    _say(f"loading TensorFlow and {folder}")
    if model_fingerprint.stated(folder) is None:
        _say("nothing says who made this model, and a model is a program: see docs/publishing.md")
    from tff_nlp.serving import predictor

    loaded = predictor.load(folder, flag="--run")
    labelled = [row.text for row in given.rows if row.text is not None]
    with labelled_rows.bar(len(labelled)) as bar:
        predictions = loaded.predict(labelled, batch_size=FLAGS.batch_size, done=bar.update)
    for line in labelled_rows.notes(given, loaded.count_tokens(labelled), loaded.max_tokens):
        _say(line)
    lines = labelled_rows.lines(
        given,
        predictions,
        loaded.label_names,
        as_json=FLAGS.json,
        safe=output is None and sys.stdout.isatty(),
    )
    if output is not None:
        labelled_rows.write_new(output, lines)
        _say(f"{len(given.rows):,} rows written to {output}")
        return
    for line in lines:
        print(line)


def _given(texts: list[str], reading: settings.ReadingFlags) -> unlabelled.Unlabelled:
    """Returns what to label.

    Raises:
      UserError: If there is nothing, or a file cannot be read.
    """
    if texts and FLAGS.file:
        raise UserError("--file: texts are given as arguments, too")
    if texts:
        return unlabelled.from_texts(texts)
    path = paths.expand("file", FLAGS.file) or (
        "" if sys.stdin.isatty() else formats.STANDARD_INPUT
    )
    if path:
        source = CorpusSource(path=path, labelled=False, to_predict=True, **data.reading(reading))
        given = unlabelled.read_unlabelled(source)
        if given.rows:
            return given
    raise UserError("no texts: give them as arguments, by --file or on standard input")


def _say(line: str) -> None:
    print(f"predict.py: {printable(line)}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    entry.run(main, FLAGS, groups=(settings.ReadingFlags,), takes_arguments=True)
