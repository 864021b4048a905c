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
import dataclasses
import json
from typing import TYPE_CHECKING, Any

from absl import flags

from experiments.command_line import entry
from tff_nlp.errors import UserError
from tff_nlp.privacy import names
from tff_nlp.runs import checks

if TYPE_CHECKING:  # The accountants take a while to load.
    from tff_nlp.privacy import budget, dp_ftrl

MOST_ORDERS = LARGEST_ORDER = 10_000

# Separate flags, so that other scripts may use the same names in the same process.
FLAGS = flags.FlagValues()
_OWN = {"flag_values": FLAGS}

flags.DEFINE_integer("population", None, "Number of clients that may be drawn.", **_OWN)
flags.DEFINE_integer("clients_per_round", None, "(Expected) number of clients per round.", **_OWN)
flags.DEFINE_float(
    "noise_multiplier",
    None,
    "Standard deviation of the noise on the sum, divided by the clipping norm.",
    **_OWN,
)
flags.DEFINE_float(
    "noise_ratio",
    None,
    "The noise multiplier divided by the cohort size, which is the noise on the mean. Replaces"
    " --noise_multiplier, to find the smallest cohort for a target epsilon.",
    **_OWN,
)
flags.DEFINE_integer("rounds", None, "Number of rounds.", **_OWN)
flags.DEFINE_float("delta", None, "Delta of (epsilon, delta); population^-1.1 by default.", **_OWN)
flags.DEFINE_float("target_epsilon", None, "Largest epsilon that is allowed.", **_OWN)
flags.DEFINE_enum(
    "accountant",
    "rdp",
    names.ACCOUNTANTS,
    "Accountant that computes the epsilon to compare with --target_epsilon.",
    **_OWN,
)
flags.DEFINE_enum("dp", names.GAUSSIAN, names.CENTRAL, "The privacy mechanism.", **_OWN)
flags.DEFINE_enum(
    "sampling",
    "poisson",
    ["poisson", "fixed_size"],
    "How cohorts are drawn. poisson: each client independently. fixed_size: always the same number,"
    " without replacement; the accounting for this has a weaker bound.",
    **_OWN,
)
flags.DEFINE_enum("unit", "client", ["client", "example"], "Unit of privacy.", **_OWN)
flags.DEFINE_string(
    "orders",
    None,
    "Grid of orders for both Renyi accountants, for example 2..33 or 1.1..10.9:0.1,11..63,128. The"
    " default is a fine grid for rdp, and the integers 2..33 of McMahan et al. 2018 for"
    " rdp_classic.",
    **_OWN,
)
flags.DEFINE_integer(
    "max_participations", None, "tree_aggregation: maximum number of rounds of a client.", **_OWN
)
flags.DEFINE_integer(
    "min_separation",
    None,
    "tree_aggregation: minimum number of rounds between two participations of a client.",
    **_OWN,
)
flags.DEFINE_integer(
    "restart_every", None, "tree_aggregation: number of rounds until a new tree starts.", **_OWN
)
flags.DEFINE_boolean("json", False, "Print JSON.", **_OWN)


def parse_orders(text: str) -> tuple[float, ...]:
    """Returns the order grid of a flag: numbers and ranges `from..to[:step]`, separated by commas.

    Raises:
      UserError: If the text does not have this form, or if an order is not above 1 or is too large.
    """
    grid: list[float] = []
    for part in text.split(","):
        try:
            ends, _, step = part.partition(":")
            first, dots, last = ends.partition("..")
            if dots:
                width = float(step or 1)
                count = round((float(last) - float(first)) / width)
                if count > MOST_ORDERS:
                    raise UserError(f"--orders: {part!r} is more than {MOST_ORDERS} orders")
                grid += [round(float(first) + index * width, 9) for index in range(count + 1)]
            else:
                grid.append(float(part))
        except UserError:
            raise
        except (ValueError, ZeroDivisionError, OverflowError):
            raise UserError(f"--orders: {part!r} is neither a number nor from..to[:step]") from None
    if not grid or not all(1 < order <= LARGEST_ORDER for order in grid):
        raise UserError(f"--orders={text}: orders must be above 1, and at most {LARGEST_ORDER:,}")
    return tuple(grid)


def question() -> "budget.Question":
    """Returns the question that the flags ask.

    Raises:
      UserError: If a value is out of range, or if the number of missing values is not one.
    """
    from tff_nlp.privacy import accounting, budget, calibration

    population = _needed("population", at_least=2)
    cohort = _optional("clients_per_round", at_least=1)
    rounds = _optional("rounds", at_least=1)
    if rounds is not None:
        most = calibration.MOST_ROUNDS
        checks.check(rounds <= most, "rounds", rounds, f"at most {most:,}")
    if cohort is not None and cohort > population:
        raise UserError(
            f"--clients_per_round={cohort}: larger than the population of {population:,}"
        )
    checks.noise("noise_multiplier", FLAGS.noise_multiplier)
    if FLAGS.noise_ratio is not None:
        largest = names.MOST_NOISE / population
        good = 0 <= FLAGS.noise_ratio <= largest
        checks.check(good, "noise_ratio", FLAGS.noise_ratio, f"from 0 to {largest:g}")
    if FLAGS.noise_ratio is not None and FLAGS.noise_multiplier is not None:
        raise UserError("--noise_ratio: replaces --noise_multiplier, give one of them")
    if FLAGS.target_epsilon is not None:
        calibration.check_target(FLAGS.target_epsilon)
    delta = accounting.default_delta(population) if FLAGS.delta is None else FLAGS.delta
    accounting.check_delta(delta, population, FLAGS.unit)
    if FLAGS.dp == names.ADAPTIVE_CLIPPING and FLAGS.unit == "example":
        raise UserError("--unit=example: adaptive clipping here is for clients")
    asked = budget.Question(
        dp=FLAGS.dp,
        unit=FLAGS.unit,
        sampling=FLAGS.sampling,
        population=population,
        delta=delta,
        clients_per_round=cohort,
        noise_multiplier=FLAGS.noise_multiplier,
        noise_ratio=FLAGS.noise_ratio,
        rounds=rounds,
        target_epsilon=FLAGS.target_epsilon,
        accountant=FLAGS.accountant,
        orders=parse_orders(FLAGS.orders) if FLAGS.orders else None,
        participation=_participation(),
        restart_every=_optional("restart_every", at_least=1),
    )
    _check_one_is_missing(asked)
    return asked


def _needed(name: str, at_least: int) -> int:
    value = _optional(name, at_least)
    if value is None:
        raise UserError(f"--{name}: must be given")
    return value


def _optional(name: str, at_least: int) -> int | None:
    value = FLAGS[name].value
    if value is not None and value < at_least:
        raise UserError(f"--{name}={value}: must be at least {at_least}")
    return value


def _participation() -> "dp_ftrl.Participation | None":
    bounds = ("max_participations", "min_separation")
    if FLAGS.dp != names.TREE_AGGREGATION:
        for name in (*bounds, "restart_every"):
            if FLAGS[name].value is not None:
                raise UserError(f"--{name}: belongs to --dp={names.TREE_AGGREGATION}")
        return None
    for name in bounds:
        if FLAGS[name].value is None:
            raise UserError(
                f"--{name}: must be given with --dp={FLAGS.dp}, because its epsilon depends on how"
                " often the cohort sampler lets a client take part"
            )
    if FLAGS.unit != "client" or FLAGS["sampling"].value != "poisson":
        raise UserError(f"--dp={names.TREE_AGGREGATION}: is for clients and uses no sampling")
    from tff_nlp.privacy import dp_ftrl

    return dp_ftrl.Participation(FLAGS.max_participations, FLAGS.min_separation)


def _check_one_is_missing(asked: "budget.Question") -> None:
    values = {
        "noise_multiplier": (asked.noise_multiplier, asked.noise_ratio),
        "clients_per_round": (asked.clients_per_round,),
        "rounds": (asked.rounds,),
        "target_epsilon": (asked.target_epsilon,),
    }
    if asked.dp == names.TREE_AGGREGATION:
        # Its epsilon does not depend on the cohort. The cohort is only printed.
        if asked.clients_per_round is None or asked.noise_ratio is not None:
            raise UserError(
                f"--dp={asked.dp}: needs --clients_per_round, and --noise_multiplier or --rounds"
                " or --target_epsilon left out"
            )
        del values["clients_per_round"]
    missing = [name for name, given in values.items() if given == (None,) * len(given)]
    if not missing:
        known = ", ".join(f"--{name}" for name in values)
        raise UserError(f"--target_epsilon: nothing is left to find; leave out one of {known}")
    if len(missing) > 1:
        unknown = " or ".join(f"--{name}" for name in missing)
        raise UserError(f"--{missing[0]}: too little is known, give {unknown}")


def as_json(result: "budget.Answer") -> dict[str, Any]:
    """Returns an answer as values for JSON."""
    values = result.stated.to_json()
    values["found"] = result.found
    if result.asked.target_epsilon is not None:
        values["target_epsilon"] = result.asked.target_epsilon
    if result.split is not None:
        values["noise_split"] = dataclasses.asdict(result.split)
    if result.asked.participation is not None:
        values.update(dataclasses.asdict(result.asked.participation))
        values["restart_every"] = result.asked.restart_every
        values["squared_sensitivity"] = result.squared_sensitivity
    return values


def in_words(result: "budget.Answer") -> str:
    """Returns an answer as lines of text."""
    lines = [result.stated.in_words()]
    if result.split is not None:
        lines += [
            "",
            f"noise split: {result.split.updates:.10g} on the updates,"
            f" {result.split.count_stddev:g} clients on the count of those not clipped",
        ]
    if result.asked.participation is not None:
        bound = result.asked.participation
        trees = result.asked.restart_every
        lines += [
            "",
            f"participation: at most {bound.max_participations} times, at least"
            f" {bound.min_separation} rounds between; squared sensitivity"
            f" {result.squared_sensitivity} in"
            + (f" trees of {trees} rounds" if trees else " one tree"),
        ]
    from tff_nlp.privacy import calibration

    if result.found != "epsilon":
        values = result.stated.to_json()
        extreme = "smallest" if result.found == "noise_multiplier" else "largest"
        if result.found == "clients_per_round" and result.asked.noise_ratio is not None:
            extreme = "smallest"
        limit = result.found == "rounds" and values["rounds"] == calibration.MOST_ROUNDS
        lines += [
            "",
            f"found: --{result.found}={values[result.found]:.10g}, the {extreme} that keeps"
            f" {result.asked.accountant} at {result.asked.target_epsilon:g} or below"
            + (" within the search's limit" if limit else ""),
        ]
    return "\n".join(lines)


def main() -> None:
    """Prints the answer to the question of the flags."""
    entry.print_progress("loading the accountants")
    from tff_nlp.privacy import budget

    result = budget.answer(question())
    print(json.dumps(as_json(result), indent=2) if FLAGS.json else in_words(result))


if __name__ == "__main__":
    entry.run(main, FLAGS)
