r"""Searches for good values of options, by scores on texts that are neither trained on nor tested.

  experiments/tune.py --corpus=reviews.csv --output_dir=runs/tuning \
      --client_validation_fraction=0.1 --search='client_learning_rate=loguniform(1e-5,1e-3)'
  experiments/tune.py --flagfile=experiments/presets/vader.flags --output_dir=runs/tuning \
      --client_validation_fraction=0.1 --trials=30 --parallel_trials=4 \
      --search='client_learning_rate=loguniform(1e-5,1e-3); client_epochs=choice(1,2,4)'

It writes best.flags (for --flagfile of train.py), tuning.json and tuning.png into --output_dir, and
a folder for each training. If it was stopped, the same command continues it. With --dp, it first
prints what the search costs. All other flags are those of train.py. docs/tuning.md explains it.
"""

from experiments.command_line import startup  # noqa: F401

# isort: split
from absl import flags

from experiments.command_line import entry
from experiments.flags import groups
from tff_nlp.runs import configs

FLAGS = flags.FlagValues()
GROUPS = groups.of_run(configs.FederatedRun)
ALL = (configs.TuningConfig, *GROUPS)
for _group in ALL:
    groups.define(_group, FLAGS)


def main() -> None:
    """Runs the script."""
    config = groups.parse(configs.TuningConfig, FLAGS)
    run = configs.FederatedRun(*(groups.parse(group, FLAGS) for group in GROUPS))
    from tff_nlp.runs import tuning  # Slow, so after the flags are checked.

    tuning.tune(run, config)


if __name__ == "__main__":
    entry.run(main, FLAGS, groups=ALL, again="the same command goes on where it was stopped")
