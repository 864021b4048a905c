r"""Plans a privacy budget before any training: which cohorts, noises and rounds it allows.

For each cohort size and number of rounds, the script computes the smallest noise that keeps
(epsilon, delta), and the signal-to-noise ratio with this noise. It prints a table or JSON, and
draws a plot (--output). With --signal_to_noise, it also finds the smallest cohort with this ratio.
It does not import TensorFlow.

  experiments/plan_budget.py --population=1000000 --target_epsilon=2 \
    --trainable_parameters=298754 --signal_to_noise=1 --output=plan.png
"""

from experiments.command_line import startup  # noqa: F401

# isort: split
from absl import flags

from experiments.command_line import entry
from experiments.flags import groups
from tff_nlp.runs.configs.budget_plan import BudgetPlanConfig

FLAGS = flags.FlagValues()
GROUPS = (BudgetPlanConfig,)
groups.define(BudgetPlanConfig, FLAGS)


def main() -> None:
    """Runs the script."""
    config = groups.parse(BudgetPlanConfig, FLAGS)
    entry.print_progress("loading the accountants")
    from tff_nlp.runs import budget_plan  # Slow, so after the flags are checked.

    budget_plan.plan(config)


if __name__ == "__main__":
    entry.run(main, FLAGS, groups=GROUPS)
