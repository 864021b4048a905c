"""Trains the same classifier on all texts together, as an upper bound for federated training.

  experiments/train_centralized.py --corpus=reviews.csv --epochs=2 --output_dir=runs/central

It uses plain Keras `fit` and shares no training code with federated runs, so that each checks the
other. The curves are over epochs. Runs are short, so a run that was stopped starts again from the
beginning.
"""

from experiments.command_line import startup  # noqa: F401

# isort: split
import time

from absl import flags

from experiments.command_line import entry
from experiments.flags import groups
from tff_nlp.runs import configs, run_paths

FLAGS = flags.FlagValues()
GROUPS = groups.of_run(configs.CentralRun)
for _group in GROUPS:
    groups.define(_group, FLAGS)


def main() -> None:
    """Runs the script."""
    began = time.monotonic()
    run = configs.CentralRun(*(groups.parse(group, FLAGS) for group in GROUPS))
    run_paths.check(run.place)
    print(f"loading   {FLAGS.corpus}", flush=True)
    from tff_nlp.runs import central_run  # Slow, so after the flags are checked.

    central_run.run(run, began)


if __name__ == "__main__":
    entry.run(main, FLAGS, groups=GROUPS, again="the same command starts from the beginning")
