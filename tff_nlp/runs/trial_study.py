"""The trials of a search: their values come from Optuna, and its journal remembers them."""

import dataclasses
import math
import pathlib
import warnings
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import optuna
from optuna.storages import journal

from tff_nlp import errors, seeds
from tff_nlp.program import trackers
from tff_nlp.runs import cells, configs, search_space

_JOURNAL, _NAME, _FOLDERS = "study.journal", "tff_nlp", "trials"
_FAILED, _ROUNDS = "failed", "rounds"
# The median of fewer trials says little.
_TRIALS_BEFORE_PRUNING = 4


@dataclasses.dataclass(frozen=True)
class Search:
    """What all trials of a search share.

    Attributes:
      folder: Folder of the search.
      dimensions: What it varies.
      objective: Name of the evaluation set that decides.
      minimize: Whether a smaller score is better.
      prunes: Whether bad trials end early.
      random: Whether values are drawn independently, as a private search needs it.
    """

    folder: pathlib.Path
    dimensions: Sequence[search_space.Dimension]
    objective: str
    minimize: bool
    prunes: bool
    random: bool


@dataclasses.dataclass(frozen=True)
class Trial:
    """A trial.

    Attributes:
      number: Its number, from 0.
      values: Value by name of the option.
      score: Its score, the last one of a trial that was ended early; NaN without a score.
      pruned: Whether it was ended early.
      rounds: Number of rounds of a trial that was ended early.
      failed: Why it has no score; empty if it has one.
    """

    number: int
    values: Mapping[str, Any]
    score: float = math.nan
    pruned: bool = False
    rounds: int | None = None
    failed: str = ""

    @property
    def has_score(self) -> bool:
        """Whether the trial has a score."""
        return not math.isnan(self.score)

    def to_json(self) -> dict[str, Any]:
        """Returns the trial for tuning.json."""
        return {**dataclasses.asdict(self), "score": self.score if self.has_score else None}


def exists(folder: pathlib.Path) -> bool:
    """Returns whether a folder holds a search."""
    return (folder / _JOURNAL).exists()


def folder_of(folder: pathlib.Path, number: int) -> pathlib.Path:
    """Returns the folder of a trial."""
    return folder / _FOLDERS / f"{number + 1:03}"


def load(search: Search) -> optuna.Study:
    """Returns the study of a search, new or continued."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    backend = journal.JournalFileBackend(str(search.folder / _JOURNAL))
    pruner: optuna.pruners.BasePruner = optuna.pruners.NopPruner()
    if search.prunes:
        pruner = optuna.pruners.MedianPruner(_TRIALS_BEFORE_PRUNING)
    return optuna.create_study(
        storage=optuna.storages.JournalStorage(backend),
        study_name=_NAME,
        pruner=pruner,
        direction="minimize" if search.minimize else "maximize",
        load_if_exists=True,
    )


def trials(search: Search, study: optuna.Study, count: int, seed: int) -> Iterator[Trial]:
    """Yields the trials that are to train: those that were interrupted, then new ones.

    The values of a trial depend on the seed, its number, and the scores of earlier trials.

    Args:
      search: The search.
      study: Its study.
      count: Number of all trials.
      seed: Seed of the values.
    """
    for old in study.get_trials(states=[optuna.trial.TrialState.RUNNING]):
        yield Trial(old.number, old.params)
    while len(study.get_trials(deepcopy=False)) < count:
        number = len(study.get_trials(deepcopy=False))
        own_seed = seeds.derive(seed, "trial", number) & 0xFFFFFFFF
        study.sampler = (
            optuna.samplers.RandomSampler(own_seed)
            if search.random
            else optuna.samplers.TPESampler(seed=own_seed)
        )
        asked = study.ask({d.name: _distribution(d) for d in search.dimensions})
        yield Trial(asked.number, asked.params)


def train(search: Search, run: configs.FederatedRun, number: int) -> None:
    """Trains a trial, or continues it, and tells the study its score.

    Args:
      search: The search.
      run: The configuration that all trials share.
      number: Number of the trial.
    """
    study = load(search)
    frozen = study.get_trials(deepcopy=False)[number]
    trial = optuna.trial.Trial(study, frozen._trial_id)
    own = search_space.applied(run, frozen.params)
    place = dataclasses.replace(own.place, output_dir=str(folder_of(search.folder, number)))
    own = dataclasses.replace(own, place=place)
    watchers = [_Pruner(trial, search.objective, own.rounds.rounds)] if search.prunes else []
    try:
        entry, result = cells.train(own, watchers)
    except errors.PrunedError:
        study.tell(number, state=optuna.trial.TrialState.PRUNED)
        return
    if not result:
        trial.set_user_attr(_FAILED, next(f"{word}: {why}" for word, why in entry.items()))
        study.tell(number, state=optuna.trial.TrialState.FAIL)
        return
    study.tell(number, float(result[search.objective][cells.headline(result)]))


class _Pruner:
    """A `trackers.Tracker` that ends a trial which is below the median of the others."""

    def __init__(self, trial: optuna.Trial, objective: str, rounds: int) -> None:
        self._trial, self._objective, self._rounds = trial, objective, rounds

    def add(self, row: Mapping[str, float]) -> None:
        names = (f"{self._objective}_{score}" for score in cells.HEADLINES)
        column = next((name for name in names if name in row), None)
        number = trackers.step(row)
        # The last round is the score of the trial itself.
        if column is None or number == self._rounds:
            return
        # A trial that goes on has reported its first rounds already; Optuna ignores them.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            self._trial.report(float(row[column]), number)
        if self._trial.should_prune():
            self._trial.set_user_attr(_ROUNDS, number)
            raise errors.PrunedError(f"ended after round {number}: below the median")

    def finish(self, result: Mapping[str, Any]) -> None:
        """Does nothing: the study learns the score from the result."""

    def close(self) -> None:
        """Does nothing."""


def finished(study: optuna.Study) -> list[Trial]:
    """Returns all trials that are not running, by number."""
    pruned = optuna.trial.TrialState.PRUNED
    found = []
    for trial in study.get_trials(deepcopy=False):
        if not trial.state.is_finished():
            continue
        score = math.nan if trial.value is None else trial.value
        if trial.state == pruned and trial.last_step is not None:
            score = trial.intermediate_values[trial.last_step]
        found.append(
            Trial(
                trial.number,
                trial.params,
                score,
                trial.state == pruned,
                trial.user_attrs.get(_ROUNDS),
                trial.user_attrs.get(_FAILED, ""),
            )
        )
    return found


def _distribution(dimension: search_space.Dimension) -> optuna.distributions.BaseDistribution:
    if dimension.kind == search_space.CHOICE:
        return optuna.distributions.CategoricalDistribution(dimension.values)
    low, high = dimension.values
    if dimension.kind == search_space.INT:
        return optuna.distributions.IntDistribution(low, high)
    is_log = dimension.kind == search_space.LOGUNIFORM
    return optuna.distributions.FloatDistribution(low, high, log=is_log)
