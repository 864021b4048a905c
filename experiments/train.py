"""Trains a classifier or a language model over many clients, evaluates it and saves it.

  experiments/train.py --output_dir=runs/demo
  experiments/train.py --corpus=reviews.csv --client_column=author --output_dir=runs/reviews
  experiments/train.py --task=language_model --corpus=texts.txt --format=lines --output_dir=runs/lm

If a run was stopped, the same command continues it. If it is finished, the command says so. With
more --rounds, a finished run continues.
"""

from experiments.command_line import startup  # noqa: F401

# isort: split
import time

from absl import flags

from experiments.command_line import entry
from experiments.flags import groups
from tff_nlp.runs import configs, run_paths

FLAGS = flags.FlagValues()
GROUPS = groups.of_run(configs.FederatedRun)
for _group in GROUPS:
    groups.define(_group, FLAGS)


def main() -> None:
    """Runs the script."""
    began = time.monotonic()
    run = configs.FederatedRun(*(groups.parse(group, FLAGS) for group in GROUPS))
    run_paths.check(run.place)
    print(f"loading   {FLAGS.corpus}", flush=True)
    from tff_nlp.runs import federated_run  # Slow, so after the flags are checked.

    federated_run.run(run, began)


if __name__ == "__main__":
    entry.run(main, FLAGS, groups=GROUPS, again="the same command goes on from the last checkpoint")
