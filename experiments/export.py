r"""Exports the classifier of a finished run to another format, and makes it smaller.

  experiments/export.py --run=runs/demo --to=savedmodel --output=served/demo
  experiments/export.py --run=runs/demo --to=huggingface --output=demo-bert
  experiments/export.py --run=runs/demo --to=onnx --precision=int8 --output=demo-onnx
  experiments/export.py --run=runs/demo --to=tflite --precision=float16 --prune=0.5 \
      --output=demo-tflite
  experiments/export.py --run=runs/demo --to=onnx --student_layers=3 --distill_corpus=public.csv \
      --output=demo-small

experiments/predict.py --run=FOLDER labels texts with an exported model, except with huggingface,
which is for the library transformers. docs/exports.md describes each format.
"""

from experiments.command_line import startup  # noqa: F401

# isort: split
from absl import flags

from experiments.command_line import entry
from experiments.flags import groups
from tff_nlp.runs.configs.export import Export

FLAGS = flags.FlagValues()
GROUPS = groups.of_run(Export)
for _group in GROUPS:
    groups.define(_group, FLAGS)


def main() -> None:
    """Runs the script."""
    config = Export(*(groups.parse(group, FLAGS) for group in GROUPS))
    from tff_nlp.runs import exporting  # Slow, so after the flags are checked.

    exporting.export(config)


if __name__ == "__main__":
    entry.run(main, FLAGS, groups=GROUPS)
