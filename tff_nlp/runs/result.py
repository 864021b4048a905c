"""result.json: the results of a finished run (see docs/result.md), and a summary of them."""

import dataclasses
import importlib.metadata
import statistics
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from tff_nlp import errors
from tff_nlp.printable import printable
from tff_nlp.program import checkpoints, run_directory
from tff_nlp.runs import configs, reporter, score_table

if TYPE_CHECKING:  # The summary of a finished run is printed without loading TensorFlow.
    from tff_nlp.execution.ledger import ByteLedger
    from tff_nlp.privacy import audit_report, statement
    from tff_nlp.program.training import Outcome
    from tff_nlp.runs.alone import Alone
    from tff_nlp.runs.data import Data
    from tff_nlp.runs.learner import Learner
    from tff_nlp.runs.personal_scores import PersonalScores
    from tff_nlp.runs.token_report import TokenReport
    from tff_nlp.tasks.task import Report

_VERSIONS = ("tff_nlp", "tensorflow", "tensorflow-federated", "keras-nlp", "numpy")


@dataclasses.dataclass(frozen=True, eq=False)
class Facts:
    """The values that result.json needs in addition to the scores.

    Attributes:
      began: Start time of the program, from `time.monotonic`.
      config: The recorded configuration.
      data: The corpora.
      learner: The trained model.
      strip_prefix: Prefix that the exported model removes from texts.
      tokens: Token reports of the corpora, for "train" and "test".
      rounds: Number of rounds, or of epochs of central training.
      weights: Final weights, `trainable` and `non_trainable`.
      partition_checksum: Checksum of the training partition; None without clients.
      bytes_per_client: Bytes to and from a client per round; None without clients.
      audit: Report on the canaries; None without canaries.
      alone: Result of the domain that trained alone; None without `alone`.
      personal: Scores of clients with models of their own; None without such models.
      attack: Entry on the attackers; None without attackers.
      clock: Entry on the time on the devices; None without devices.
    """

    began: float
    config: Mapping[str, Any]
    data: "Data"
    learner: "Learner"
    strip_prefix: str
    tokens: "Mapping[str, TokenReport]"
    rounds: int
    weights: Any
    partition_checksum: str | None = None
    bytes_per_client: "ByteLedger | None" = None
    audit: "audit_report.Report | None" = None
    alone: "Alone | None" = None
    personal: "PersonalScores | None" = None
    attack: Mapping[str, Any] | None = None
    clock: Mapping[str, Any] | None = None


def facts_of(
    run: configs.FederatedRun | configs.CentralRun,
    texts: "Data",
    learner: "Learner",
    tokens: "Mapping[str, TokenReport]",
    *,
    config: Mapping[str, Any],
    began: float,
    weights: Any,
) -> Facts:
    """Returns the values that all runs have, central ones and federated ones.

    Args:
      run: The configuration.
      texts: The corpora.
      learner: The trained model.
      tokens: Token reports of the corpora, for "train" and "test".
      config: The configuration to record.
      began: Start time of the program, from `time.monotonic`.
      weights: Final weights, `trainable` and `non_trainable`.
    """
    rounds = run.central.epochs if isinstance(run, configs.CentralRun) else run.rounds.rounds
    return Facts(
        began=began,
        config=config,
        data=texts,
        learner=learner,
        strip_prefix=run.corpus.strip_prefix,
        tokens=tokens,
        rounds=rounds,
        weights=weights,
    )


def build(outcome: "Outcome", facts: Facts) -> dict[str, Any]:
    """Returns the content of result.json."""
    learner = facts.learner
    report = learner.task.report
    result: dict[str, Any] = {"task": learner.task.name}
    result.update({name: scores.to_json() for name, scores in outcome.scores.items()})
    result["test"] = learner.describe_scores(outcome.scores["test"])
    best = _best(outcome.rows, report)
    if best is not None:
        result["best"] = best
    seconds = [float(row["seconds"]) for row in outcome.rows]
    result.update(
        rounds=facts.rounds,
        trainable_parameters=learner.model.trainable_parameters,
        frozen_parameters=learner.model.frozen_parameters,
        seconds={
            "total": round(sum(seconds), 3),
            "per_round": round(statistics.median(seconds), 3),
            "this_program": round(time.monotonic() - facts.began, 3),
        },
        tokenizer=_tokenizer(learner.model.tokenizer),
        tokens={name: report.to_json() for name, report in facts.tokens.items()},
        synthetic=facts.data.train.synthetic,
        fingerprints={
            "train": facts.data.train.fingerprint,
            "test": facts.data.test.fingerprint,
        },
        versions=versions(),
        config=dict(facts.config),
    )
    if outcome.privacy is not None:
        result["privacy"] = privacy(outcome.privacy)
    if facts.alone is not None:
        result["alone"] = {"domain": facts.alone.domain, "test": facts.alone.test.to_json()}
    if facts.personal is not None:
        result["personal"] = facts.personal.to_json()
    if facts.attack is not None:
        result["attack"] = dict(facts.attack)
    if facts.clock is not None:
        result["clock"] = dict(facts.clock)
    if facts.audit is not None:
        result["audit"] = facts.audit.to_json()
    if facts.bytes_per_client is not None:
        result["bytes_per_client"] = _bytes(facts.bytes_per_client)
        result["fingerprints"]["partition"] = facts.partition_checksum
    result["summary"] = _summary(outcome, facts, result, report)
    return result


def _summary(
    outcome: "Outcome", facts: Facts, result: Mapping[str, Any], report: "Report"
) -> list[str]:
    """Returns a readable summary of a result, a few lines."""
    lines = [f"test      {outcome.scores['test'].line()}"]
    if "best" in result:
        best, name = result["best"], report.headline
        lines.append(
            f"best      round {best['round']} by the validation part: {name} "
            f"{best[f'validation_{name}']:.4f} on it, {best[f'test_{name}']:.4f} on the test set"
        )
    for name in ("clients", "held_out"):
        if name in outcome.scores and outcome.scores[name].clients is not None:
            lines.append(f"{name:9} {outcome.scores[name].clients.line()}")
    if facts.personal is not None:
        lines.append(f"personal  {facts.personal.line()}")
    if "clock" in result:
        lines.append(f"clock     {result['clock']['line']}")
    if "attack" in result:
        lines.append(f"attack    {result['attack']['line']}")
    if "privacy" in result:
        lines.append(f"privacy   {result['privacy']['line']}")
    if "audit" in result:
        lines.append(f"audit     {result['audit']['line'].removeprefix('audit ')}")
    if result["test"]["warning"]:
        lines.append(f"warning   {result['test']['warning']}")
    return lines + score_table.lines(result, report)


def print_status(directory: run_directory.RunDirectory) -> bool:
    """Prints the summary of a finished run, or the folder of an unfinished one.

    Returns:
      Whether the run is finished.

    Raises:
      UserError: If result.json is damaged.
    """
    done = directory.result()
    if done is None:
        rounds = checkpoints.latest(directory.checkpoints)
        after = "" if rounds is None else f": continues after round {rounds}"
        reporter.say("output", [f"{errors.verbatim(directory.path)}{after}"])
        return False
    try:
        lines = [printable(str(line)) for line in done["summary"]]
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise run_directory.damaged(directory.path) from error
    reporter.say("finished", [f"{errors.verbatim(directory.path)}: nothing to do"])
    reporter.show(lines)
    return True


def _bytes(sent: "ByteLedger") -> dict[str, int]:
    """Returns the bytes of weights and updates, as papers report them, and the other bytes."""
    down = sent.bytes_of("down", "weights")
    up = sent.bytes_of("up", "update") + sent.bytes_of("up", "secure update")
    return {
        "down": down,
        "up": up,
        "other_down": sent.down - down,
        "other_up": sent.up - up,
        "once": sent.once,
    }


def _best(rows: Sequence[Mapping[str, str]], report: "Report") -> dict[str, Any] | None:
    """Returns the best round by the validation scores; None without a validation part.

    The test set never selects the round. Its score in the best of many rounds would be too good.
    """
    column = f"validation_{report.headline}"
    scored = [row for row in rows if row.get(column)]
    if not scored:
        return None
    choose = max if report.higher_is_better else min
    best = choose(scored, key=lambda row: float(row[column]))
    test = f"test_{report.headline}"
    return {
        "round": int(best["round"]),
        column: float(best[column]),
        test: float(best[test]),
        "chosen_on": "validation",
    }


def _tokenizer(tokenizer: Any) -> dict[str, Any]:
    """Returns the word rules of a tokenizer. A tokenizer of byte pairs has none."""
    rules = getattr(tokenizer, "rules", None)
    return {} if rules is None else dataclasses.asdict(rules)


def privacy(stated: "statement.PrivacyStatement") -> dict[str, Any]:
    """Returns the entry of result.json for a privacy statement."""
    spelled = tuple(map(errors.with_flags, stated.violations))
    stated = dataclasses.replace(stated, violations=spelled)
    return {**stated.to_json(), "line": stated.line()}


def versions() -> dict[str, str | None]:
    """Returns the versions of the software that decides on a result, by package."""
    return {name: version_of(name) for name in _VERSIONS}


def version_of(package: str) -> str | None:
    """Returns the installed version of a package; None if only its files are there."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None  # The package is on the path, for example in a clone.
