"""Copies of a finished run what may be shown: its model, what it claims of privacy, its settings.

  experiments/publish.py --run=runs/reviews --to=published/reviews

Nothing else: no seed (who took part follows from it), no paths, fingerprints, scores of clients,
measurements without noise, checkpoints or logs. docs/publishing.md says why.
"""

from experiments import startup  # noqa: F401

# isort: split
import dataclasses
import json
import pathlib
import shutil
from collections.abc import Iterator, Mapping
from typing import Any

from absl import flags

from experiments import data, entry, paths, privacy_flags, saved_run, settings
from tff_nlp import durable_files
from tff_nlp.errors import UserError
from tff_nlp.program import run_directory
from tff_nlp.serving import model_fingerprint

FLAGS = flags.FlagValues()
_OWN = {"flag_values": FLAGS}

flags.DEFINE_string("run", "", "The folder of a finished run.", **_OWN)
flags.DEFINE_string("to", "", "A new folder, which others may read.", **_OWN)

STATEMENT, SETTINGS, INFO = "statement.json", "settings.json", "info.json"
# What shaped the model. The corpus, the places and the machine are not among them.
_GROUPS = (
    settings.ClientFlags,
    settings.ModelFlags,
    settings.ClientTrainingFlags,
    settings.FederatedFlags,
    settings.RunFlags,
    settings.CentralFlags,
    privacy_flags.PrivacyFlags,
)
# The rest of info.json counts and names the texts, without noise.
_PUBLIC_INFO = (
    "label_names",
    "max_tokens",
    "strip_prefix",
    "tokenizer",
    "serving_code",
    "synthetic",
)
# The name of a domain, which may be that of a client.
_NAMES = ("alone",)
_PUBLIC_FACTS = ("rounds", "trainable_parameters", "frozen_parameters", "synthetic", "versions")


def main() -> None:
    """Publishes the run that the flags name."""
    run, to = _folders()
    config, result = saved_run.read(run)
    model = run / run_directory.MODEL
    if not model.is_dir():
        raise UserError(f"--run={run}: has no model")
    model_fingerprint.check(model, "--run")
    shown = info(model / INFO)
    partial = to.with_name(f".{to.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    try:
        with durable_files.writing(to):
            to.parent.mkdir(parents=True, exist_ok=True)
            partial.mkdir()
            shutil.copytree(model, partial / run_directory.MODEL)
            (partial / run_directory.MODEL / INFO).unlink()
        _write(partial / run_directory.MODEL / INFO, shown)
        _write(partial / STATEMENT, statement(result))
        model_digest = model_fingerprint.of(partial / run_directory.MODEL)
        facts = {**_facts(result), "result.fingerprints.model": model_digest}
        _write(partial / SETTINGS, {**dict(public(config)), **facts})
        with durable_files.writing(to):
            partial.rename(to)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    data.say("published", [f"{to}: {run_directory.MODEL}/, {STATEMENT}, {SETTINGS}"])


def statement(result: Mapping[str, Any]) -> dict[str, Any]:
    """Returns what a run claims of privacy; without a mechanism, that it claims nothing."""
    nothing = {"guaranteed": False, "line": "no guarantee: trained without differential privacy"}
    stated = result.get("privacy", nothing)
    # Names of clients.
    return {name: value for name, value in stated.items() if name != "epsilon_by_client"}


def info(path: pathlib.Path) -> dict[str, Any]:
    """Returns what is said beside the model of how to use it, and nothing of the texts.

    Raises:
      UserError: If the file is damaged.
    """
    try:
        stated = dict(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError) as error:
        raise UserError(f"--run: {path} cannot be read ({error})") from error
    return {name: value for name, value in stated.items() if name in _PUBLIC_INFO}


def public(config: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Yields the flags that may be shown, with their values in a run's configuration."""
    for group in _GROUPS:
        for field in dataclasses.fields(group):
            # Every seed is secret: cohorts, or noise, follow from it.
            if field.name not in config or "seed" in field.name or field.name in _NAMES:
                continue
            value = config[field.name]
            # A path says more than what lies there.
            yield field.name, pathlib.PurePath(value).name if field.metadata["path"] else value


def _facts(result: Mapping[str, Any]) -> dict[str, Any]:
    facts = {name: result[name] for name in _PUBLIC_FACTS if name in result}
    return {f"result.{name}": value for name, value in facts.items()}


def _folders() -> tuple[pathlib.Path, pathlib.Path]:
    for name in ("run", "to"):
        if not FLAGS[name].value:
            raise UserError(f"--{name}: must be given")
    run, to = (paths.of_flag(name, FLAGS[name].value) for name in ("run", "to"))
    if to.exists() or to.is_symlink():
        raise UserError(f"--to={to}: is there already; name a new folder")
    if to.resolve().is_relative_to(run.resolve()):
        raise UserError(f"--to={to}: lies in the run's own folder, which only its owner may read")
    paths.check_writable("to", to)
    return run, to


def _write(path: pathlib.Path, value: Mapping[str, Any]) -> None:
    run_directory.write_json(path, value, private=False)


if __name__ == "__main__":
    entry.run(main, FLAGS)
