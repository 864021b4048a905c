"""The trials of a search: their values come from Optuna, and its journal remembers them."""

import dataclasses
import math
import os
import pathlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import optuna
from optuna.storages import journal

from tff_nlp import durable_files, errors, seeds
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
    try:
        return optuna.create_study(
            storage=optuna.storages.JournalStorage(backend),
            study_name=_NAME,
            pruner=pruner,
            direction="minimize" if search.minimize else "maximize",
            load_if_exists=True,
        )
    except (ValueError, KeyError) as error:
        where = errors.setting("output_dir", search.folder)
        raise errors.UserError(f"{where}: {_JOURNAL} is damaged; use a new folder") from error


def repair(folder: pathlib.Path) -> None:
    """Makes a journal that only its owner can read, and removes a last line that was cut off.

    Call it before any trial: another process may be writing the last line then.

    Args:
      folder: Folder of the search.

    Raises:
      WriteError: If the journal cannot be written.
    """
    path = folder / _JOURNAL
    with durable_files.writing(path):
        opened = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
        with os.fdopen(opened, "r+b") as file:
            whole = file.read()
            complete = whole.rfind(b"\n") + 1
            if complete < len(whole):
                file.truncate(complete)


def trials(search: Search, study: optuna.Study, count: int, seed: int) -> Iterator[Trial]:
    """Yields the trials that are to train: those that were interrupted, then new ones.

    The values of a trial depend on the seed, its number, and the trials that have ended before it.

    Args:
      search: The search.
      study: Its study.
      count: Number of all trials.
      seed: Seed of the values.
    """
    for old in study.get_trials(states=[optuna.trial.TrialState.RUNNING]):
        # A kill while the values were drawn may have left some of them out.
        _choose_sampler(search, study, seed, old.number)
        yield Trial(old.number, _values(search, optuna.Trial(study, old._trial_id)))
    while len(study.get_trials(deepcopy=False)) < count:
        _choose_sampler(search, study, seed, len(study.get_trials(deepcopy=False)))
        asked = study.ask()
        yield Trial(asked.number, _values(search, asked))


def _choose_sampler(search: Search, study: optuna.Study, seed: int, number: int) -> None:
    own_seed = seeds.derive(seed, "trial", number) & 0xFFFFFFFF
    study.sampler = (
        optuna.samplers.RandomSampler(own_seed)
        if search.random
        else optuna.samplers.TPESampler(seed=own_seed)
    )


def _values(search: Search, trial: optuna.Trial) -> dict[str, Any]:
    """Returns the values of a trial. Those that it has already stay."""
    for dimension in search.dimensions:
        name, values = dimension.name, dimension.values
        if dimension.kind == search_space.CHOICE:
            trial.suggest_categorical(name, values)
        elif dimension.kind == search_space.INT:
            trial.suggest_int(name, *values)
        else:
            trial.suggest_float(name, *values, log=dimension.kind == search_space.LOGUNIFORM)
    return trial.params


def train(search: Search, run: configs.FederatedRun, number: int) -> None:
    """Trains a trial from its start or its last checkpoint, and records its score in the study.

    Args:
      search: The search.
      run: The configuration that all trials share.
      number: Number of the trial.
    """
    study = load(search)
    frozen = study.get_trials(deepcopy=False)[number]
    trial = optuna.trial.Trial(study, frozen._trial_id)
    folder = folder_of(search.folder, number)
    folder.parent.mkdir(durable_files.PRIVATE_FOLDER, exist_ok=True)
    watchers = [_Pruner(trial, search.objective, run.rounds.rounds)] if search.prunes else []
    try:
        own = search_space.applied(run, frozen.params)
        place = dataclasses.replace(own.place, output_dir=str(folder))
        entry, result = cells.train(dataclasses.replace(own, place=place), watchers)
    except errors.PrunedError:
        study.tell(number, state=optuna.trial.TrialState.PRUNED)
        return
    except errors.UserError as error:
        # Values may be possible alone and impossible together.
        entry, result = {"refused": error.with_flags()}, {}
    if not result:
        trial.set_user_attr(_FAILED, next(f"{word}: {why}" for word, why in entry.items()))
        study.tell(number, state=optuna.trial.TrialState.FAIL)
        return
    study.tell(number, float(result[search.objective][cells.headline(result)]))


class _Pruner:
    """A `trackers.Tracker` that ends a trial which is below the median of the others."""

    def __init__(self, trial: optuna.Trial, objective: str, rounds: int) -> None:
        self._trial, self._objective, self._rounds = trial, objective, rounds
        held = trial.study.get_trials(deepcopy=False)[trial.number]
        self._passed = held.last_step or 0

    def add(self, row: Mapping[str, float]) -> None:
        names = (f"{self._objective}_{score}" for score in cells.HEADLINES)
        column = next((name for name in names if name in row), None)
        number = trackers.step(row)
        # The last round is the score of the trial itself. A trial that goes on adds its first
        # rounds again.
        if column is None or number == self._rounds or number <= self._passed:
            return
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
