"""A search for good values of options."""

import dataclasses
import importlib.util

from tff_nlp.runs import checks
from tff_nlp.runs.options import option

AUTO, VALIDATION, HELD_OUT = OBJECTIVES = ("auto", "validation", "held_out")
MISSING = "Optuna is not installed; EXTRAS=tune scripts/setup adds it"
_NO_RAY = "Ray is not installed; EXTRAS=ray scripts/setup adds it"


@dataclasses.dataclass(frozen=True)
class TuningConfig:
    """A search for good values of options."""

    search: str = option(
        "",
        "What to search, separated by semicolons: name=loguniform(low,high), "
        "name=uniform(low,high), name=int(low,high) or name=choice(a,b,c), for example "
        "client_learning_rate=loguniform(1e-5,1e-3).",
    )
    trials: int = option(
        20,
        "Number of trainings. With `dp`, it is the mean of a random number, as the epsilon of a "
        "search needs it.",
    )
    objective: str = option(
        AUTO,
        "The texts whose score decides. validation: the validation texts of the training clients "
        "(`client_validation_fraction`); held_out: those of the clients that never train "
        "(`held_out_fraction`); auto: held_out with `dp` if there are such clients, else "
        "validation. The test texts never decide.",
        OBJECTIVES,
    )
    prune: bool = option(
        True,
        "End trainings early that are below the median of the others after as many rounds; never "
        "with `dp`.",
    )
    parallel_trials: int = option(
        1, "Number of trainings at the same time, each in a process of Ray if more than one."
    )

    def __post_init__(self) -> None:
        if not self.search.strip():
            why = "must be given, for example client_learning_rate=loguniform(1e-5,1e-3)"
            checks.refuse_missing("search", why)
        checks.at_least(1, "trials", self.trials)
        checks.at_least(1, "parallel_trials", self.parallel_trials)
        if importlib.util.find_spec("optuna") is None:
            checks.refuse("search", self.search, MISSING)
        if self.parallel_trials > 1 and importlib.util.find_spec("ray") is None:
            checks.refuse("parallel_trials", self.parallel_trials, _NO_RAY)
