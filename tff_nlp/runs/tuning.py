"""Searches for good values of options: one training after another, each in its own folder.

A search that was stopped goes on: finished trainings count, and one that was interrupted continues
from its last checkpoint.
"""

import dataclasses
import json
import pathlib
import secrets
from collections.abc import Mapping, Sequence
from typing import Any

import optuna

from tff_nlp import durable_files, errors, seeds
from tff_nlp.clients import splits
from tff_nlp.printable import printable
from tff_nlp.program import run_directory
from tff_nlp.runs import (
    cells,
    checks,
    configs,
    data,
    options,
    privacy_plan,
    reporter,
    search_space,
    text_table,
    trial_study,
    tuning_picture,
    tuning_price,
)
from tff_nlp.runs.configs import task_names, tuning

PICTURE, FLAGS = "tuning.png", "best.flags"


def tune(run: configs.FederatedRun, config: configs.TuningConfig) -> Mapping[str, Any]:
    """Trains with different values, and writes the best ones, a table and a picture.

    Args:
      run: The configuration that all trials share, with an `output_dir`.
      config: The search.

    Returns:
      The content of tuning.json: the trials, the best one with its test scores, and the price in
      privacy.

    Raises:
      UserError: If a setting is refused, or the folder holds another search.
      RunError: If no trial has a score.
    """
    if not run.place.output_dir:
        checks.refuse_missing("output_dir", "must be given: each trial has a folder in it")
    dimensions = search_space.parse(config.search)
    for values in search_space.corners(dimensions):
        search_space.applied(run, values)
    if config.parallel_trials > 1 and run.execution.context == "ray":
        why = "each trial is a process of Ray, which has no room for actors of its own"
        checks.refuse("parallel_trials", config.parallel_trials, f"`context`=ray: {why}")
    objective = tuning_price.objective_of(run, config)
    given = _Given.of_run(run)
    given.check(objective)
    price = tuning_price.check(run, config, dimensions, given.split.train)
    if price is not None:
        reporter.say("privacy", price.lines())
    folder = pathlib.Path(run.place.output_dir)
    search = trial_study.Search(
        folder=folder,
        dimensions=dimensions,
        objective=objective,
        minimize=run.corpus.task == task_names.LANGUAGE_MODEL,
        prunes=config.prune and price is None,
        random=price is not None,
    )
    study = _open(search, run, config, given, private=price is not None)
    drawn = _drawn(run, config, folder, private=price is not None)
    if config.parallel_trials > 1:
        from tff_nlp.runs import parallel_trials  # Ray is an extra.

        parallel_trials.train(search, study, run, drawn.trials, drawn.seed, config.parallel_trials)
    else:
        for trial in trial_study.trials(search, study, drawn.trials, drawn.seed):
            _announce(trial, drawn.trials, private=price is not None)
            trial_study.train(search, run, trial.number)
    return _write(run, config, search, study, price)


@dataclasses.dataclass(frozen=True)
class _Drawn:
    trials: int
    seed: int


@dataclasses.dataclass(frozen=True, eq=False)
class _Given:
    """The texts and the clients of all trials."""

    texts: data.Data
    split: splits.ClientSplits

    @staticmethod
    def of_run(run: configs.FederatedRun) -> "_Given":
        """Returns them as a run has them."""
        texts = data.load_data(
            run.corpus,
            run.rounds.seed,
            run.place.cache_dir,
            public=run.distillation if run.distils else None,
        )
        clients = data.resolve_partition(run.clients, texts.train)
        resolved = privacy_plan.resolve(dataclasses.replace(run, clients=clients))
        holders = data.split_clients(resolved.clients, texts.train, run.rounds.seed)
        return _Given(texts, holders.split)

    def check(self, objective: str) -> None:
        """Says how many texts decide.

        Raises:
          UserError: If there are none.
        """
        parts = {tuning.VALIDATION: self.split.validation, tuning.HELD_OUT: self.split.held_out}
        count = parts[objective].num_examples
        if not count:
            checks.refuse("objective", objective, "there are no such texts; raise their fraction")
        reporter.say("decides", [f"the score on {count:,} texts ({objective})"])


def _open(
    search: trial_study.Search,
    run: configs.FederatedRun,
    config: configs.TuningConfig,
    given: _Given,
    *,
    private: bool,
) -> optuna.Study:
    """Returns the study in the folder, new or continued.

    Raises:
      UserError: If the folder holds another search, or other files.
    """
    folder = search.folder
    where = errors.setting("output_dir", folder)
    # Texts are known by their digests, and the machine changes no trial.
    groups = [g for g in run.recorded() if g not in (run.corpus, run.execution, run.tracking)]
    shared = json.dumps([options.record(*groups), given.texts.fingerprints()], sort_keys=True)
    identity = {"search": config.search, "objective": search.objective, "settings": shared}
    if private:
        identity["trials"] = str(config.trials)  # Its epsilon is for this mean.
    try:
        if not trial_study.exists(folder) and folder.is_dir() and any(folder.iterdir()):
            raise errors.UserError(f"{where}: holds other files; use a new folder")
        folder.mkdir(durable_files.PRIVATE_FOLDER, parents=True, exist_ok=True)
    except OSError as error:
        raise errors.UserError(f"{where}: cannot be used ({error.strerror})") from error
    trial_study.repair(folder)
    study = trial_study.load(search)
    held = study.user_attrs.get("identity")
    if held is None:
        study.set_user_attr("identity", identity)
    elif held != identity:
        different = next(name for name in identity if held.get(name) != identity[name])
        raise errors.UserError(f"{where}: holds a search with other {different}; use a new folder")
    return study


def _drawn(
    run: configs.FederatedRun, config: configs.TuningConfig, folder: pathlib.Path, *, private: bool
) -> _Drawn:
    """Returns the number of trials and the seed of their values.

    In a private search both are secret, and they are kept for a search that goes on.
    """
    if not private:
        return _Drawn(config.trials, seeds.derive(run.rounds.seed, "tuning"))
    from tff_nlp.privacy import selection

    path = folder / run_directory.PRIVATE / tuning_price.DRAWN
    if not path.exists():
        path.parent.mkdir(durable_files.PRIVATE_FOLDER, exist_ok=True)
        trials = selection.draw_trainings(config.trials)
        run_directory.write_json(path, {"trials": trials, "seed": secrets.randbits(63)})
    try:
        return _Drawn(**json.loads(path.read_text(encoding="utf-8")))
    except (ValueError, TypeError) as error:
        # Another number would not have the printed price.
        raise errors.UserError(
            f"`output_dir`: {errors.verbatim(path)} is damaged; use a new folder"
        ) from error


def _announce(trial: trial_study.Trial, trials: int, *, private: bool) -> None:
    listed = ", ".join(f"{name}={_shown(value)}" for name, value in trial.values.items())
    # Nobody may see how many trials a private search will have.
    of = "" if private else f" of {trials}"
    reporter.say("trial", [f"{trial.number + 1}{of}: {errors.verbatim(listed)}"])


def _write(
    run: configs.FederatedRun,
    config: configs.TuningConfig,
    search: trial_study.Search,
    study: optuna.Study,
    price: tuning_price.Price | None,
) -> Mapping[str, Any]:
    folder = search.folder
    trials = trial_study.finished(study)
    scored = [trial for trial in trials if trial.has_score and not trial.pruned]
    if not scored:
        why = trials[0].failed if trials else "there was no trial"
        raise errors.RunError(f"no trial has a score; the first one: {errors.verbatim(why)}")
    best = (min if search.minimize else max)(scored, key=lambda trial: trial.score)
    place = trial_study.folder_of(folder, best.number)
    result = json.loads((place / run_directory.RESULT).read_text())
    headline = cells.headline(result)
    found = {
        "search": config.search,
        "objective": f"{search.objective}_{headline}",
        "best": {
            "trial": best.number,
            "folder": place.name,
            "values": best.values,
            search.objective: best.score,
            "test": result["test"][headline],
        },
        "trials": [trial.to_json() for trial in trials],
    }
    if price is not None:
        found["privacy"] = price.to_json()
    durable_files.replace_text(folder / tuning_price.RESULT, json.dumps(found, indent=2) + "\n")
    lines = [f"# The values of the best trial by {search.objective} {headline}."]
    lines += [f"# {errors.with_flags(line)}" for line in (price.lines() if price else [])]
    lines += [errors.with_flags(f"`{name}`={_flag(value)}") for name, value in best.values.items()]
    durable_files.replace_text(folder / FLAGS, "\n".join(lines) + "\n")
    tuning_picture.draw(
        search.dimensions,
        trials,
        folder / PICTURE,
        measure=f"{search.objective} {headline}",
        minimize=search.minimize,
    )
    reporter.show(_table(search, trials, best.number))
    if price is not None:
        reporter.say("privacy", price.lines())
    reporter.say(
        "best",
        [
            f"trial {best.number + 1}: {search.objective} {headline} {best.score:.4f}, test "
            f"{result['test'][headline]:.4f} (the test texts decided nothing)"
        ],
    )
    reporter.say(
        "saved", [f"{errors.verbatim(folder)}: {FLAGS}, {tuning_price.RESULT}, {PICTURE}, trials/"]
    )
    return found


def _table(search: trial_study.Search, trials: Sequence[trial_study.Trial], best: int) -> list[str]:
    names = [dimension.name for dimension in search.dimensions]
    rows = [["trial", *names, search.objective, ""]]
    for trial in trials:
        score = f"{trial.score:.4f}" if trial.has_score else ""
        word = "best" if trial.number == best else trial.failed.partition(":")[0]
        word = f"ended after round {trial.rounds}" if trial.pruned else word
        shown = [_shown(trial.values[name]) for name in names]
        rows.append([str(trial.number + 1), *shown, score, printable(word, 40)])
    return text_table.aligned(rows)


def _shown(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _flag(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return "" if value is None else str(value)
