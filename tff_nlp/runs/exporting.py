"""Exports the classifier of a finished run to another format, and makes it smaller."""

import pathlib
import shutil
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from tff_nlp.errors import UserError, setting, verbatim
from tff_nlp.models.adapters import names
from tff_nlp.program import run_directory
from tff_nlp.runs import checks, publication, reporter, saved_run, user_folders
from tff_nlp.runs.configs.export import Export
from tff_nlp.runs.configs.task_names import LANGUAGE_MODEL
from tff_nlp.serving import formats, model_fingerprint

if TYPE_CHECKING:
    from tff_nlp.runs.trained_model import TrainedModel

# TensorFlow Serving takes the folder with the largest number in a model's folder.
_VERSION = "1"
_UNCOVERED = (
    "the student was trained on {texts} by the outputs of the model; the statement of the model "
    "does not cover these texts, so there is no guarantee for them"
)
_OWN_TEXTS = "no guarantee: a student was trained on the training texts, without noise"


def export(config: Export) -> None:
    """Writes the exported model into a new folder, and prints what was written.

    Args:
      config: The configuration.

    Raises:
      UserError: If the run is not finished, is a language model or cannot be exported so, the
        output exists, or a package is missing. Nothing is written.
      WriteError: If the output cannot be written.
    """
    run, output = pathlib.Path(config.what.run), pathlib.Path(config.what.output)
    _check_output(output)
    settings, result = saved_run.read(run)
    _check_run(run, settings, config)
    if config.what.to == formats.ONNX:
        from tff_nlp.serving import onnx_model

        onnx_model.check_installed()
    privacy = statement(result, config)
    if config.student.student_layers is None and config.what.to == formats.SAVED_MODEL:
        _copy_model(run, output, privacy)
    else:
        _export(config, settings, result, privacy)
    reporter.say("privacy", [verbatim(privacy["line"])])
    reporter.say("exported", [f"{verbatim(output)}: {_described(output)}"])


def _export(
    config: Export,
    settings: Mapping[str, Any],
    result: Mapping[str, Any],
    privacy: Mapping[str, Any],
) -> None:
    """Loads the model, makes it smaller, and writes it."""
    from tff_nlp.runs import student, trained_model

    what, output = config.what, pathlib.Path(config.what.output)
    reporter.say("loading", [f"TensorFlow and {verbatim(what.run)}"])
    model = trained_model.load(pathlib.Path(what.run), settings, what.cache_dir)
    if config.student.student_layers is not None:
        texts = student.texts(config)
        folder = user_folders.cache_dir(what.cache_dir)
        model = student.distil(model, texts, config.student, folder)
        reporter.say("warning", [verbatim(privacy["student"])])
    _write(config, model, result, privacy, output)


def _write(
    config: Export,
    model: "TrainedModel",
    result: Mapping[str, Any],
    privacy: Mapping[str, Any],
    output: pathlib.Path,
) -> None:
    from tff_nlp.serving import exported_folder

    what = config.what
    if what.to == formats.SAVED_MODEL:
        from tff_nlp.serving import export as saved_model

        with exported_folder.writing(output) as partial:
            saved_model.export(
                partial / _VERSION,
                model.model,
                model.trainable,
                model.frozen,
                model.label_names,
                model.config.max_tokens,
                strip_prefix=model.strip_prefix,
                info={"privacy": dict(privacy)},
            )
        return
    bert = model.plain()
    if what.prune:
        from tff_nlp.serving import pruning

        bert = pruning.prune(bert, what.prune)
    if what.to == formats.HUGGING_FACE:
        from tff_nlp.serving import huggingface_export, model_card

        facts = model_card.Facts(result, privacy, config.student.student_layers)
        with exported_folder.writing(output) as partial:
            huggingface_export.write(partial, bert, what.precision, facts)
        return
    from tff_nlp.serving import onnx_model, tflite_model

    write = onnx_model.write if what.to == formats.ONNX else tflite_model.write
    info = {
        "format": what.to,
        "precision": what.precision,
        "pruned": what.prune,
        "privacy": dict(privacy),
    }
    with exported_folder.writing(output) as partial:
        write(partial, bert, what.precision, info, packed=what.prune > 0)


def _copy_model(run: pathlib.Path, output: pathlib.Path, privacy: Mapping[str, Any]) -> None:
    """Copies the SavedModel that the run wrote, without what info.json says about the texts."""
    from tff_nlp.serving import exported_folder

    model = run / run_directory.MODEL
    model_fingerprint.check(model, "run")
    info = {**publication.info(model / publication.INFO), "privacy": dict(privacy)}
    with exported_folder.writing(output) as partial:
        shutil.copytree(model, partial / _VERSION)
        (partial / _VERSION / publication.INFO).unlink()
        run_directory.write_json(partial / _VERSION / publication.INFO, info, private=False)


def _check_output(output: pathlib.Path) -> None:
    if output.exists() or output.is_symlink():
        checks.refuse("output", output, "exists already; name a new folder")
    user_folders.check_writable("output", output.parent)


def _check_run(run: pathlib.Path, settings: Mapping[str, Any], config: Export) -> None:
    """Refuses a run that has no model, or a model that this format cannot hold."""
    if settings.get("task") == LANGUAGE_MODEL:
        raise UserError(
            f"{setting('run', run)}: is a language model; only classifiers are exported"
        )
    saved_run.model_of(run)
    adapter = settings.get("adapter", names.NONE)
    stays = config.what.to == formats.SAVED_MODEL and config.student.student_layers is None
    if adapter not in (names.NONE, names.LORA) and not stays:
        raise UserError(
            f"{setting('to', config.what.to)}: the run has {setting('adapter', adapter)}, layers "
            f"that cannot be merged into the weights; take `to`={formats.SAVED_MODEL} without a "
            "student"
        )


def statement(result: Mapping[str, Any], config: Export) -> dict[str, Any]:
    """Returns the run's statement of privacy, and what a student changes about it.

    Args:
      result: Content of the run's result.json.
      config: The configuration of the export.
    """
    stated = publication.statement(result)
    if config.student.student_layers is None:
        return stated
    corpus = config.student.distill_corpus
    if not corpus:
        # What the student learned from these texts went through no mechanism.
        stated = {"guaranteed": False, "line": _OWN_TEXTS}
    texts = f"the texts of {pathlib.PurePath(corpus).name}" if corpus else "the training texts"
    return {**stated, "student": _UNCOVERED.format(texts=texts)}


def _described(output: pathlib.Path) -> str:
    """Returns the files of a folder and their size together."""
    files = [path for path in output.rglob("*") if path.is_file()]
    size = sum(path.stat().st_size for path in files) / 1e6
    shown = ", ".join(sorted({path.relative_to(output).parts[0] for path in files}))
    return f"{verbatim(shown)} ({size:,.1f} MB)"
