"""Predicts with a trained model: reads texts, and writes the model's answers."""

import dataclasses
import pathlib
import sys
from collections.abc import Callable, Sequence
from typing import Any

from tff_nlp.corpora import formats, unlabelled
from tff_nlp.corpora.source import CorpusSource
from tff_nlp.errors import UserError, setting, verbatim
from tff_nlp.runs import answered_rows, answers, data, user_folders
from tff_nlp.runs.configs.prediction import GenerationConfig, PredictionConfig
from tff_nlp.runs.configs.reading import ReadingConfig
from tff_nlp.serving import model_fingerprint, model_folder


@dataclasses.dataclass(frozen=True)
class Prediction:
    """The whole configuration of a prediction.

    Attributes:
      what: Model, texts and output.
      generation: How a language model continues texts.
      reading: Format of the text file.
    """

    what: PredictionConfig
    generation: GenerationConfig = GenerationConfig()
    reading: ReadingConfig = ReadingConfig()


def predict(config: Prediction, texts: Sequence[str], say: Callable[[str], None]) -> None:
    """Writes the answers to a file, or prints them.

    Args:
      config: The configuration.
      texts: Texts that are used instead of a file. A model of pairs takes two texts per pair.
      say: Function that shows a line to the user, a marked text (`errors`): a message on the
        progress, or a note about the texts.

    Raises:
      UserError: If an option, a file, a row or the model is wrong.
      RunError: If the output cannot be written.
    """
    what = config.what
    if not what.run:
        raise UserError("`run` is needed: the folder of a run")
    folder = model_folder.of_run(pathlib.Path(what.run), "run")
    output = pathlib.Path(what.output) if what.output else None
    if output is not None:
        answered_rows.check_new(output)
        user_folders.check_writable("output", output.parent)
    given = None if texts else _read(config)
    if texts and what.file:
        raise UserError("`file`: give texts in a file or as arguments, not both")
    kind = answers.Continuations if config.generation.generate else answers.Labels
    if given is not None:
        answered_rows.check_columns(given, kind, what.json)
    say(f"loading TensorFlow and {verbatim(folder)}")
    is_program = model_folder.file_of(folder) == model_folder.SAVED_MODEL
    if is_program and model_fingerprint.stated(folder) is None:
        say("the origin of this model is unknown, and a model is a program: see docs/publishing.md")
    answer = _continue if config.generation.generate else _label
    given, answered, notes = answer(config, folder, given, texts)
    for line in notes:
        say(line)
    on_terminal = output is None and sys.stdout.isatty()
    lines = answered_rows.lines(given, answered, as_json=what.json, safe=on_terminal)
    if output is not None:
        answered_rows.write_new(output, lines)
        say(f"{len(given.rows):,} rows written to {verbatim(output)}")
        return
    for line in lines:
        print(line)


def _label(
    config: Prediction,
    folder: pathlib.Path,
    given: unlabelled.Unlabelled | None,
    texts: Sequence[str],
) -> tuple[unlabelled.Unlabelled, answers.Labels, list[str]]:
    """Returns the rows, the labels of the rows that have a text, and notes about the texts."""
    from tff_nlp.serving import any_model

    model_folder.check_kind(folder, "run", generates=False)
    loaded = any_model.load(folder, flag="run")
    column = config.reading.second_text_column
    if given is None:
        given = unlabelled.from_arguments(texts, pairs=loaded.reads_pairs)
    elif loaded.reads_pairs and not column:
        raise UserError("`second_text_column` is needed: the model reads pairs of texts")
    elif column and not loaded.reads_pairs:
        raise UserError(f"{setting('second_text_column', column)}: the model reads single texts")
    examples: Any = [row.example for row in given.rows if row.example is not None]
    with answered_rows.bar(len(examples), "labelling") as bar:
        predicted = loaded.predict(examples, batch_size=config.what.batch_size, done=bar.update)
    notes = answered_rows.notes(given, loaded.count_tokens(examples), loaded.max_tokens)
    labels = answers.Labels(predicted.labels, predicted.probabilities, loaded.label_names)
    return given, labels, notes


def _continue(
    config: Prediction,
    folder: pathlib.Path,
    given: unlabelled.Unlabelled | None,
    texts: Sequence[str],
) -> tuple[unlabelled.Unlabelled, answers.Continuations, list[str]]:
    """Returns the rows, the continuations of the rows that have a text, and notes about them."""
    from tff_nlp.serving import text_generator

    model_folder.check_kind(folder, "run", generates=True)
    loaded = text_generator.load(folder, flag="run")
    given = unlabelled.from_texts(texts) if given is None else given
    prompts = [row.text for row in given.rows if row.text is not None]
    sampling = config.generation
    with answered_rows.bar(len(prompts), "writing") as bar:
        written = loaded.generate(
            prompts,
            max_new_tokens=sampling.max_new_tokens,
            top_p=sampling.top_p,
            temperature=sampling.temperature,
            seed=sampling.seed,
            batch_size=config.what.batch_size,
            done=bar.update,
        )
    return given, answers.Continuations(written), answered_rows.notes(given, None, 0)


def _read(config: Prediction) -> unlabelled.Unlabelled:
    """Returns the texts of a file, or of standard input.

    Raises:
      UserError: If there are no texts, or a file cannot be read.
    """
    path = config.what.file or ("" if sys.stdin.isatty() else formats.STANDARD_INPUT)
    if path:
        reading = data.reading(config.reading)
        source = CorpusSource(path=path, labelled=False, to_predict=True, **reading)
        given = unlabelled.read_unlabelled(source)
        if given.rows:
            return given
    raise UserError("no texts: give them as arguments, by `file` or on standard input")
