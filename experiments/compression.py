r"""Trains once for each way to send fewer bytes, and shows the scores beside the bytes.

  experiments/compression.py --corpus=reviews.csv --output_dir=runs/compression
  experiments/compression.py --corpus=reviews.csv --output_dir=runs/compression \
      --compressions=none,none/8,top_k,top_k/8,signs

All other flags are those of train.py. Each run has its own folder in --output_dir. If the script
was stopped, the same command continues it.
"""

from experiments.command_line import startup  # noqa: F401

# isort: split
from absl import flags

from experiments.command_line import entry
from experiments.flags import groups
from tff_nlp.runs import configs

FLAGS = flags.FlagValues()
GROUPS = groups.of_run(configs.FederatedRun)
ALL = (configs.CompressionPlanConfig, *GROUPS)
for _group in ALL:
    groups.define(_group, FLAGS)


def main() -> None:
    """Runs the script."""
    plan = groups.parse(configs.CompressionPlanConfig, FLAGS)
    run = configs.FederatedRun(*(groups.parse(group, FLAGS) for group in GROUPS))
    from tff_nlp.runs import compression  # Slow, so after the flags are checked.

    compression.run(run, plan)


if __name__ == "__main__":
    entry.run(main, FLAGS, groups=ALL, again="the same command goes on where it was stopped")
