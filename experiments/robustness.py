r"""Trains once for each attack and each aggregator, and shows which aggregator withstands what.

  experiments/robustness.py --corpus=reviews.csv --output_dir=runs/robustness
  experiments/robustness.py --corpus=reviews.csv --output_dir=runs/robustness \
      --attacks=none,sign_flip,backdoor --aggregators=mean,median,krum

All other flags are those of train.py. Each attack and aggregator has its own folder in
--output_dir. If the script was stopped, the same command continues it.
"""

from experiments.command_line import startup  # noqa: F401

# isort: split
from absl import flags

from experiments.command_line import entry
from experiments.flags import groups
from tff_nlp.runs import configs

FLAGS = flags.FlagValues()
GROUPS = groups.of_run(configs.FederatedRun)
ALL = (configs.RobustnessConfig, *GROUPS)
for _group in ALL:
    groups.define(_group, FLAGS)


def main() -> None:
    """Runs the script."""
    matrix = groups.parse(configs.RobustnessConfig, FLAGS)
    run = configs.FederatedRun(*(groups.parse(group, FLAGS) for group in GROUPS))
    from tff_nlp.runs import robustness  # Slow, so after the flags are checked.

    robustness.run(run, matrix)


if __name__ == "__main__":
    entry.run(main, FLAGS, groups=ALL, again="the same command goes on where it was stopped")
