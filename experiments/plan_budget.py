r"""Plans a privacy budget before any training: which cohorts, noises and rounds it allows.

For each cohort size and number of rounds, the script computes the smallest noise that keeps
(epsilon, delta), and the signal-to-noise ratio with this noise. It prints a table or JSON, and
draws a plot (--output). With --signal_to_noise, it also finds the smallest cohort with this ratio.
It does not import TensorFlow.

  experiments/plan_budget.py --population=1000000 --target_epsilon=2 \
    --trainable_parameters=298754 --signal_to_noise=1 --output=plan.png
"""

from experiments.command_line import startup  # noqa: F401
from tff_nlp.runs import user_folders

# isort: split
import dataclasses
import itertools
import json
import pathlib
from collections.abc import Sequence
from typing import TYPE_CHECKING

from absl import flags

from experiments.command_line import entry
from experiments.flags import paths
from tff_nlp import durable_files
from tff_nlp.errors import UserError
from tff_nlp.privacy import names

if TYPE_CHECKING:  # The accountants take a while to load.
    from tff_nlp.privacy import frontier

# Separate flags, so that other scripts may use the same names in the same process.
FLAGS = flags.FlagValues()
_OWN = {"flag_values": FLAGS}

flags.DEFINE_integer("population", None, "Number of clients that may be drawn.", **_OWN)
flags.DEFINE_float("target_epsilon", None, "Largest epsilon that is allowed.", **_OWN)
flags.DEFINE_float("delta", None, "Delta of (epsilon, delta); population^-1.1 by default.", **_OWN)
flags.DEFINE_list(
    "clients_per_round",
    None,
    "Cohort sizes to compare; by default 50, 100, 200, 500, ... up to half of the population.",
    **_OWN,
)
flags.DEFINE_list("rounds", ["100", "300", "1000", "3000"], "Numbers of rounds to compare.", **_OWN)
flags.DEFINE_integer(
    "trainable_parameters",
    770,
    "Number of trainable parameters, which get noise; experiments/train.py prints it. The default"
    " is that of MiniLM's head for two labels.",
    **_OWN,
)
flags.DEFINE_float(
    "update_norm",
    1.0,
    "L2 norm of the mean of the clipped updates, divided by the clipping norm. The maximum is 1. It"
    " is smaller if the updates of the clients have different directions.",
    **_OWN,
)
flags.DEFINE_float("signal_to_noise", None, "Wanted signal-to-noise ratio of each round.", **_OWN)
flags.DEFINE_enum(
    "accountant",
    "rdp",
    names.ACCOUNTANTS,
    "Accountant that computes the epsilon to compare with --target_epsilon.",
    **_OWN,
)
flags.DEFINE_string("output", None, "PNG file for the plot.", **_OWN)
flags.DEFINE_boolean("json", False, "Print JSON.", **_OWN)


def _whole_numbers(name: str, at_most: int | None = None) -> list[int] | None:
    """Returns the positive integers of a flag's list, sorted, without duplicates."""
    if FLAGS[name].value is None:
        return None
    numbers = set()
    for text in FLAGS[name].value:
        if not text.strip().isdecimal() or int(text) < 1:
            raise UserError(f"--{name}: {text!r} is not a whole number from 1 on")
        if at_most is not None and int(text) > at_most:
            raise UserError(f"--{name}: {text} is larger than the population of {at_most:,}")
        numbers.add(int(text))
    if not numbers:
        raise UserError(f"--{name}: is empty")
    return sorted(numbers)


def budget_of_flags() -> "frontier.Budget":
    """Returns the validated budget.

    Raises:
      UserError: If a flag is missing or out of range. The message names it.
    """
    from tff_nlp.privacy import accounting, frontier

    for name in ("population", "target_epsilon"):
        if FLAGS[name].value is None:
            raise UserError(f"--{name}: must be given")
    population = FLAGS.population
    budget = frontier.Budget(
        population=population,
        target_epsilon=FLAGS.target_epsilon,
        delta=accounting.default_delta(max(population, 2)) if FLAGS.delta is None else FLAGS.delta,
        accountant=FLAGS.accountant,
        parameters=FLAGS.trainable_parameters,
        update_norm=FLAGS.update_norm,
    )
    frontier.check(budget)
    return budget


def heading(budget: "frontier.Budget") -> str:
    """Returns a description of what all points have in common."""
    return (
        f"epsilon {budget.target_epsilon:g} ({budget.accountant}) at delta {budget.delta:.3g} for"
        f" one client of {budget.population:,}; neighbours: add or remove one client; cohorts are"
        f" Poisson samples\nsignal: a mean update of {budget.update_norm:g} x the clipping norm"
        f" against the noise on {budget.parameters:,} parameters"
    )


def table(points: "Sequence[frontier.Point]") -> str:
    """Returns the points as a table with a header."""
    lines = [
        "   clients  rounds     noise   noise on       signal/noise     rounds of",
        "  a round         multiplier   the mean    a round  whole run  one client",
    ]
    for point in points:
        mark = "*" if point.best else " "
        lines.append(
            f"{mark} {point.clients_per_round:8,} {point.rounds:7,} {point.noise_multiplier:9.4f}"
            f" {point.noise_on_mean:10.3g} {point.signal_to_noise:10.3g}"
            f" {point.signal_to_noise_of_run:10.3g} {point.participations:11.3g}"
        )
    return "\n".join(lines)


def draw(
    path: pathlib.Path,
    budget: "frontier.Budget",
    points: "Sequence[frontier.Point]",
    wish: float | None,
) -> None:
    """Draws signal-to-noise by cohort size, and by the total work of the clients.

    Args:
      path: PNG file to write.
      budget: The budget.
      points: The points.
      wish: Wanted signal-to-noise ratio of one round, or None.

    Raises:
      WriteError: If the file cannot be written.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 4.8), layout="constrained")
    by_cohort, by_work = figure.subplots(1, 2)
    # Markers, so that the lines also differ in black and white.
    marked = zip(sorted({point.rounds for point in points}), itertools.cycle("osD^v<>P"))
    for rounds, marker in marked:
        line = [point for point in points if point.rounds == rounds]
        label = f"{rounds:,} rounds"
        by_cohort.plot(
            [point.clients_per_round for point in line],
            [point.signal_to_noise for point in line],
            marker=marker,
            label=label,
        )
        by_work.plot(
            [point.work for point in line],
            [point.signal_to_noise_of_run for point in line],
            marker=marker,
            label=label,
        )
    best = sorted((point for point in points if point.best), key=lambda point: point.work)
    by_work.plot(
        [point.work for point in best],
        [point.signal_to_noise_of_run for point in best],
        "k--",
        linewidth=1,
        label="most signal for the work",
    )
    if wish is not None:
        by_cohort.axhline(wish, color="black", linestyle=":", label=f"wish: {wish:g}")
    by_cohort.set(xlabel="clients per round", ylabel="signal-to-noise of one round")
    by_work.set(xlabel="client updates in the whole run", ylabel="signal-to-noise of the whole run")
    for axes in (by_cohort, by_work):
        axes.set(xscale="log", yscale="log")
        axes.grid(visible=True, which="major", alpha=0.3)
        axes.legend(fontsize="small")
    figure.suptitle(heading(budget), fontsize="small")
    with durable_files.replacing(path, private=False) as file:
        figure.savefig(file, format="png", dpi=120)


def _output() -> pathlib.Path | None:
    """Returns the path of the plot, or None. It is checked before the planning."""
    if not FLAGS.output:
        return None
    path = paths.of_flag("output", FLAGS.output)
    if path.is_dir():
        raise UserError(f"--output={path}: is a folder; name a file")
    if not path.parent.is_dir():
        raise UserError(f"--output={path}: there is no folder {path.parent}")
    user_folders.check_writable("output", path.parent)
    return path


def main() -> None:
    """Plans the budget of the flags, prints the plan and draws it into --output."""
    entry.print_progress("loading the accountants")
    import tqdm

    from tff_nlp.privacy import frontier

    budget = budget_of_flags()
    rounds = _whole_numbers("rounds")
    cohorts = _whole_numbers("clients_per_round", at_most=budget.population)
    wish = FLAGS.signal_to_noise
    if wish is not None and not wish > 0:
        raise UserError(f"--signal_to_noise={wish:g}: must be above 0")
    output = _output()
    cohorts = cohorts or frontier.usual_cohorts(budget.population)
    # None: show the bar only on a terminal.
    with tqdm.tqdm(total=len(cohorts) * len(rounds or []), desc="planning", disable=None) as bar:
        points = frontier.plan(budget, cohorts, rounds or [], bar.update)
    serving = {
        count: frontier.smallest_that_serves(budget, wish, count)
        for count in (rounds or [])
        if wish is not None
    }
    if FLAGS.json:
        values = {
            **dataclasses.asdict(budget),
            "points": [dataclasses.asdict(point) for point in points],
            "serving_the_wish": {
                str(count): None if point is None else dataclasses.asdict(point)
                for count, point in serving.items()
            },
        }
        print(json.dumps(values, indent=2))
    else:
        print(f"{heading(budget)}\n\n{table(points)}")
        print("\n* no other point has as much signal in its run for as little client work")
        if serving:
            print(f"\nsmallest cohorts with a signal-to-noise of {wish:g} or more in each round:")
            print(table([point for point in serving.values() if point is not None]))
            for count in (count for count, point in serving.items() if point is None):
                print(
                    f"  {count:,} rounds: impossible, even with all {budget.population:,} clients"
                    " in each round"
                )
    if output is not None:
        draw(output, budget, points, wish)


if __name__ == "__main__":
    entry.run(main, FLAGS)
