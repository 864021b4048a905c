r"""Computes epsilon, noise, cohort size or rounds before any training.

Give --population, and all but one of --noise_multiplier, --clients_per_round, --rounds and
--target_epsilon. The script finds the missing one. It prints the epsilon of all accountants, with
and without amplification by sampling, and everything that they depend on. It does not import
TensorFlow.

  experiments/epsilon.py --population=763430 --clients_per_round=5000 --noise_multiplier=1 \
    --rounds=5000 --delta=1e-9
  experiments/epsilon.py --population=3383 --noise_ratio=.01 --rounds=100 --delta=1e-5 \
    --target_epsilon=2
  experiments/epsilon.py --dp=tree_aggregation --population=342477 --clients_per_round=100 \
    --rounds=1600 --max_participations=1 --min_separation=0 --delta=1e-6 --target_epsilon=2
"""

from experiments.command_line import startup  # noqa: F401

# isort: split
from absl import flags

from experiments.command_line import entry
from experiments.flags import groups
from tff_nlp.runs.configs.epsilon import EpsilonConfig

FLAGS = flags.FlagValues()
GROUPS = (EpsilonConfig,)
groups.define(EpsilonConfig, FLAGS)


def main() -> None:
    """Runs the script."""
    config = groups.parse(EpsilonConfig, FLAGS)
    entry.print_progress("loading the accountants")
    from tff_nlp.runs import epsilon_question  # Slow, so after the flags are checked.

    epsilon_question.answer(config)


if __name__ == "__main__":
    entry.run(main, FLAGS, groups=GROUPS)
