"""Trains a federated text classifier, evaluates it and saves it.

  experiments/train.py --output_dir=runs/demo
  experiments/train.py --corpus=reviews.csv --text_column=text --label_column=stars \
    --client_column=author --output_dir=runs/reviews

The same command continues a run that was stopped, and says so when it is finished.
"""

import time

from absl import flags

from experiments import entry, flag_groups, privacy_flags, quiet, settings  # noqa: F401

FLAGS = flags.FlagValues()
GROUPS = (
    settings.CorpusFlags,
    settings.ClientFlags,
    settings.ModelFlags,
    settings.ClientTrainingFlags,
    settings.FederatedFlags,
    privacy_flags.PrivacyFlags,
    settings.RunFlags,
    settings.ExecutionFlags,
    settings.PlaceFlags,
)
for _group in GROUPS:
    flag_groups.define(_group, FLAGS)


def main() -> None:
    """Runs the script."""
    began = time.monotonic()
    groups = [flag_groups.parse(group, FLAGS) for group in GROUPS]
    from experiments import federated_run  # After the flags, whose mistakes are told at once.

    federated_run.FederatedRun(*groups).run(began)


if __name__ == "__main__":
    entry.run(main, FLAGS)
