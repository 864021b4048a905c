"""Publishes a run: copies its model, its privacy statement and its settings, and nothing else."""

import dataclasses
import json
import pathlib
import shutil
from collections.abc import Iterator, Mapping
from typing import Any

from tff_nlp import durable_files
from tff_nlp.errors import UserError, setting, verbatim
from tff_nlp.program import run_directory
from tff_nlp.runs import configs, reporter, saved_run, tuning_price, user_folders
from tff_nlp.serving import model_fingerprint

STATEMENT, SETTINGS, INFO = "statement.json", "settings.json", "info.json"
# The settings that are published. Corpus, folders and machine are not among them.
_GROUPS = (
    configs.ClientsConfig,
    configs.ModelConfig,
    configs.ClientTrainingConfig,
    configs.FederatedConfig,
    configs.AggregationConfig,
    configs.PersonalizationConfig,
    configs.RoundsConfig,
    configs.CentralConfig,
    configs.PrivacyConfig,
    configs.AttackConfig,
    configs.CompressionConfig,
)
# The other entries of info.json contain names and counts of the texts, without noise.
_PUBLIC_INFO = (
    "label_names",
    "max_tokens",
    "max_new_tokens",
    "inputs",
    "strip_prefix",
    "tokenizer",
    "serving_code",
    "synthetic",
)
# Options with the name of a domain, which may be the name of a client.
_NAMES = ("alone",)
_PUBLIC_FACTS = (
    "task",
    "rounds",
    "trainable_parameters",
    "frozen_parameters",
    "synthetic",
    "versions",
)


def publish(run: pathlib.Path, to: pathlib.Path) -> None:
    """Copies the model of a run, its statement of privacy and its settings.

    Args:
      run: Folder of a finished run.
      to: Path of the new folder. Other users may read it.

    Raises:
      UserError: If the run is not finished or has no model, or the new folder is not possible.
      WriteError: If the new folder cannot be written.
    """
    if to.exists() or to.is_symlink():
        raise UserError(f"{setting('to', to)}: exists already; name a new folder")
    if to.resolve().is_relative_to(run.resolve()):
        raise UserError(
            f"{setting('to', to)}: is inside of the run's folder, which only its owner may read"
        )
    user_folders.check_writable("to", to)
    config, result = saved_run.read(run)
    model = saved_run.model_of(run)
    model_fingerprint.check(model, "run")
    public_info = info(model / INFO)
    searched = tuning_price.of_trial(run)
    partial = to.with_name(f".{to.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    try:
        with durable_files.writing(to):
            to.parent.mkdir(parents=True, exist_ok=True)
            partial.mkdir()
            shutil.copytree(model, partial / run_directory.MODEL)
            (partial / run_directory.MODEL / INFO).unlink()
        _write(partial / run_directory.MODEL / INFO, public_info)
        _write(partial / STATEMENT, {**statement(result), **searched})
        model_digest = model_fingerprint.of(partial / run_directory.MODEL)
        shown = {f"result.{name}": value for name, value in facts(result).items()}
        shown["result.fingerprints.model"] = model_digest
        _write(partial / SETTINGS, {**dict(public(config)), **shown})
        with durable_files.writing(to):
            partial.rename(to)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    reporter.say("published", [f"{verbatim(to)}: {run_directory.MODEL}/, {STATEMENT}, {SETTINGS}"])


def statement(result: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the privacy statement of a run. Without a mechanism, it says that there is none."""
    no_mechanism = {
        "guaranteed": False,
        "line": "no guarantee: trained without differential privacy",
    }
    privacy = result.get("privacy", no_mechanism)
    # This entry contains the names of clients.
    return {name: value for name, value in privacy.items() if name != "epsilon_by_client"}


def info(path: pathlib.Path) -> dict[str, Any]:
    """Returns the entries of info.json that say how to use the model, without those on the texts.

    Args:
      path: Path of info.json.

    Raises:
      UserError: If the file is damaged.
    """
    try:
        entries = dict(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError) as error:
        raise UserError(f"`run`: {verbatim(path)} cannot be read ({verbatim(error)})") from error
    return {name: value for name, value in entries.items() if name in _PUBLIC_INFO}


def public(config: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Yields the options that are published, with their values in a run's configuration."""
    for group in _GROUPS:
        for field in dataclasses.fields(group):
            # Every seed is secret, because cohorts or noise derive from it.
            if field.name not in config or "seed" in field.name or field.name in _NAMES:
                continue
            value = config[field.name]
            # Only the last part of a path is published.
            yield field.name, pathlib.PurePath(value).name if field.metadata["path"] else value


def facts(result: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the entries of result.json that are published beside the settings."""
    return {name: result[name] for name in _PUBLIC_FACTS if name in result}


def _write(path: pathlib.Path, value: Mapping[str, Any]) -> None:
    run_directory.write_json(path, value, private=False)
