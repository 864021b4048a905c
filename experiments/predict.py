"""Labels texts with a trained model.

  experiments/predict.py --run=runs/demo "Not bad at all." "It broke on day two."
  experiments/predict.py --run=runs/demo --file=texts.txt --json > labels.jsonl

Texts are arguments, the lines of --file, or the lines of standard input; one line out for each,
the empty ones too, so that line n of the output belongs to line n of the input.
"""

from experiments import startup  # noqa: F401

# isort: split
import json
import pathlib
import sys

from absl import flags

from experiments import entry, silence_libraries  # noqa: F401
from tff_nlp.errors import UserError

FLAGS = flags.FlagValues()
_OWN = {"flag_values": FLAGS}

flags.DEFINE_string("run", "", "A run's folder, or an exported model's.", **_OWN)
flags.DEFINE_string("file", "", "A UTF-8 text file, one text a line.", **_OWN)
flags.DEFINE_boolean("json", False, "Print JSON with all probabilities.", **_OWN)
flags.DEFINE_integer("batch_size", 64, "Texts at a time.", lower_bound=1, **_OWN)


def main(texts: list[str]) -> None:
    """Runs the script on the texts given as arguments."""
    if not FLAGS.run:
        raise UserError("--run is needed: the folder of a run")
    folder = pathlib.Path(FLAGS.run)
    model = folder / "model"
    if folder.is_dir() and not model.exists() and (folder / "config.json").exists():
        raise UserError(f"--run={folder}: has no model yet; finish the run first")
    if texts and FLAGS.file:
        raise UserError("--file: texts are given as arguments, too")
    texts = texts or _lines()
    if not texts:
        raise UserError("no texts: give them as arguments, by --file or on standard input")
    from tff_nlp.serving import predictor

    loaded = predictor.load(model if model.exists() else folder, flag="--run")
    predictions = loaded.predict(texts, batch_size=FLAGS.batch_size)
    for text, label, row in zip(texts, predictions.labels, predictions.probabilities, strict=True):
        shares = {n: round(float(p), 6) for n, p in zip(loaded.label_names, row, strict=True)}
        if FLAGS.json:
            line = {"text": text, "label": label, "probabilities": shares}
            print(json.dumps(line, ensure_ascii=False))
        else:
            print(f"{label}\t{max(shares.values()):.4f}\t{text}")


def _lines() -> list[str]:
    try:
        if FLAGS.file:
            data = pathlib.Path(FLAGS.file).read_bytes()
        elif sys.stdin.isatty():
            return []
        else:
            data = sys.stdin.buffer.read()
        # Split at line ends only: str.splitlines would also split inside of some texts.
        lines = data.decode("utf-8-sig").split("\n")
        return [line.rstrip("\r") for line in (lines if lines[-1] else lines[:-1])]
    except OSError as error:
        raise UserError(f"--file={FLAGS.file}: cannot be read ({error.strerror})") from error
    except UnicodeDecodeError as error:
        raise UserError(f"--file={FLAGS.file or '(standard input)'}: is not UTF-8") from error


if __name__ == "__main__":
    entry.run(main, FLAGS, takes_arguments=True)
