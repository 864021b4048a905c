"""Trains a federated text classifier, evaluates it and saves it.

  experiments/train.py --output_dir=runs/demo
  experiments/train.py --corpus=reviews.csv --client_column=author --output_dir=runs/reviews

The same command continues a run that was stopped, and says so when it is finished. With more
--rounds it goes on from a finished one.
"""

from experiments import startup  # noqa: F401

# isort: split
import time

from absl import flags

from experiments import (
    entry,
    flag_groups,
    privacy_flags,
    run_paths,
    settings,
)

FLAGS = flags.FlagValues()
GROUPS = (
    settings.CorpusFlags,
    settings.ClientFlags,
    settings.ModelFlags,
    settings.ClientTrainingFlags,
    settings.FederatedFlags,
    settings.RunFlags,
    privacy_flags.PrivacyFlags,
    settings.PlaceFlags,
    settings.ExecutionFlags,
)
for _group in GROUPS:
    flag_groups.define(_group, FLAGS)


def main() -> None:
    """Runs the script."""
    began = time.monotonic()
    groups = [flag_groups.parse(group, FLAGS) for group in GROUPS]
    run_paths.check(groups[GROUPS.index(settings.PlaceFlags)])
    print(f"loading   {FLAGS.corpus}", flush=True)
    from experiments import federated_run  # After the flags, whose mistakes are told at once.

    federated_run.FederatedRun(*groups).run(began)


if __name__ == "__main__":
    entry.run(main, FLAGS, groups=GROUPS, again="the same command goes on from the last checkpoint")
