r"""Labels texts, or pairs of texts, with a trained classifier, or continues them.

  experiments/predict.py --run=runs/demo "Not bad at all." "It broke on day two."
  experiments/predict.py --run=runs/demo --file=reviews.csv --text_column=review \
    --output=labelled.csv
  experiments/predict.py --run=runs/demo --file=texts.txt --json > labels.jsonl
  experiments/predict.py --run=runs/plays --generate --top_p=0.9 "What is"

Texts are arguments, the rows of --file, or the lines of standard input. For a model of pairs, two
arguments are one row, and --second_text_column names the second column of a file. Files are read as
in experiments/train.py: CSV, TSV, JSON, JSON Lines or one text per line, compressed or not.

The output has one row for each row of the input. A table gets two more columns, and JSON Lines get
two more keys: the label and its probability. For plain texts, each line has the label, the
probability and the text. With --generate, the new column is the continuation, and plain texts are
printed with their continuations. A row without a text gets no answer.
"""

from experiments.command_line import startup  # noqa: F401

# isort: split
import sys

from absl import flags

from experiments.command_line import entry
from experiments.flags import groups
from tff_nlp import errors
from tff_nlp.printable import printable
from tff_nlp.runs import prediction

FLAGS = flags.FlagValues()
GROUPS = groups.of_run(prediction.Prediction)
for _group in GROUPS:
    groups.define(_group, FLAGS)


def main(texts: list[str]) -> None:
    """Runs the script on the texts given as arguments."""
    asked = prediction.Prediction(*(groups.parse(group, FLAGS) for group in GROUPS))
    prediction.predict(asked, texts, _say)


def _say(line: str) -> None:
    print(f"predict.py: {printable(errors.with_flags(line))}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    entry.run(main, FLAGS, groups=GROUPS, takes_arguments=True)
