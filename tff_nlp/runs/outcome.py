"""Writes the results of a run: pictures, the exported model and result.json."""

from collections.abc import Sequence

from tff_nlp import durable_files, errors
from tff_nlp.program import pictures, run_directory, trackers, training
from tff_nlp.runs import (
    adapters,
    clock_picture,
    personal_picture,
    predicted_labels,
    reporter,
    result,
    run_report,
)
from tff_nlp.tasks import classification_scores


def write(
    directory: run_directory.RunDirectory,
    outcome: training.Outcome,
    facts: result.Facts,
    tracked: Sequence[trackers.Tracker] = (),
    *,
    keeps_model: bool = True,
) -> None:
    """Writes all results of a finished run. result.json is written last.

    Args:
      directory: Directory of the run.
      outcome: The result of training.
      facts: The other values of result.json.
      tracked: Trackers, which receive the result too.
      keeps_model: Whether the trained model is written.
    """
    reporter.say("saving", ["pictures and the model" if keeps_model else "pictures"])
    learner, title = facts.learner, facts.data.title
    test = outcome.scores["test"]
    pictures.draw_curves(
        outcome.rows,
        directory.path / run_directory.CURVES,
        learner.task.report.panels,
        title=title,
        baseline=test.baseline,
    )
    drawings = list(learner.draw(test, directory.path, f"{title}: test"))
    if isinstance(test, classification_scores.Scores):
        path = directory.path / run_directory.PREDICTIONS
        names = facts.data.train.label_names
        predicted_labels.write(path, test.labels, test.predicted, names)
        drawings.append(run_directory.PREDICTIONS)
    if facts.personal is not None:
        facts.personal.write(directory.path / run_directory.PERSONAL)
        picture = directory.path / run_directory.PERSONAL_PICTURE
        personal_picture.draw(facts.personal, picture, title=f"{title}: own models of clients")
        drawings += [run_directory.PERSONAL_PICTURE, run_directory.PERSONAL]
    sent = facts.bytes_per_client
    if facts.clock is not None and sent is not None:
        clock_picture.draw(
            outcome.rows,
            f"test_{learner.task.report.headline}",
            directory.path / run_directory.CLOCK,
            down=sent.down,
            up=sent.up,
            title=title,
        )
        drawings.append(run_directory.CLOCK)
    files = [
        run_directory.REPORT,
        run_directory.RESULT,
        run_directory.CURVES,
        *drawings,
        run_directory.METRICS,
    ]
    fingerprints = {}
    if keeps_model:
        fingerprints["model"] = _export(directory, facts)
        if learner.model.has_adapter:
            adapters.save(learner, facts.weights, directory.path / run_directory.ADAPTER)
            files.append(run_directory.ADAPTER)
        files.append(f"{run_directory.MODEL}/")
    values = result.build(outcome, facts)
    values["fingerprints"].update(fingerprints)
    texts = learner.show_texts(test, facts.data.test)
    report = run_report.build(directory.path, title, values, outcome.rows, texts)
    durable_files.replace_text(directory.path / run_directory.REPORT, report)
    for tracker in tracked:
        tracker.finish(values)
    directory.save_result(values)
    reporter.show(values["summary"])
    reporter.say("saved", [f"{errors.verbatim(directory.path)}: {', '.join(files)}"])


def _export(directory: run_directory.RunDirectory, facts: result.Facts) -> str:
    """Writes the model, and returns its fingerprint."""
    return facts.learner.export(
        facts.weights,
        directory.path / run_directory.MODEL,
        strip_prefix=facts.strip_prefix,
        info={
            "corpus": facts.data.train.name,
            "synthetic": facts.data.train.synthetic,
            "tokens": facts.tokens["train"].to_json(),
        },
    )
