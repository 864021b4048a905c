"""A finished run read back: its texts, who held them, who trained, and its model's outputs.

Imports no TensorFlow but in `outputs`: what is wrong with a run is told within seconds.
"""

import dataclasses
import json
import pathlib
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np
import tqdm

from experiments import data, flag_groups, privacy_flags, privacy_plan, settings
from tff_nlp import errors, silence_libraries
from tff_nlp.clients import cohorts, splits
from tff_nlp.printable import printable
from tff_nlp.privacy import names
from tff_nlp.program import run_directory, secret_file

if TYPE_CHECKING:
    from tff_nlp.models.classifier import Classifier

# Where examples that a run did not train on come from.
TEST, CLIENTS, HELD_OUT, UNDRAWN = SOURCES = ("test", "clients", "held_out", "undrawn")


@dataclasses.dataclass(frozen=True, eq=False)
class SavedRun:
    """A finished run.

    Attributes:
      folder: Its output_dir.
      seed: Its seed.
      clients: Its flags about clients; None of a central run.
      privacy: Its flags about privacy; None of a central run.
      model: Its flags about the model.
      result: What result.json says.
      texts: The corpora, the same as the run's.
      split: Who held what; None of a central run.
    """

    folder: pathlib.Path
    seed: int
    clients: settings.ClientFlags | None
    privacy: privacy_flags.PrivacyFlags | None
    model: settings.ModelFlags
    result: Mapping[str, Any]
    texts: data.Data
    split: splits.ClientSplits | None


@dataclasses.dataclass(frozen=True, eq=False)
class Examples:
    """Examples of a run by where they come from.

    Attributes:
      members: int64[n], rows of the training corpus that clients which took part trained on.
      member_clients: int64[n], the position of each member's client among `client_ids`.
      client_ids: Names of the training clients; empty of a central run.
      drawn: bool[clients], which of them took part.
      others: Rows that the run did not train on, by source: of the test corpus (`TEST`), or of the
        training corpus, kept back by clients that train (`CLIENTS`), of clients that never train
        (`HELD_OUT`), or of clients that no round drew (`UNDRAWN`). Texts that also stand among the
        members are left out, and empty sources are absent.
    """

    members: np.ndarray
    member_clients: np.ndarray
    client_ids: tuple[str, ...]
    drawn: np.ndarray
    others: Mapping[str, np.ndarray]


def load(folder: pathlib.Path, cache_dir: str = "") -> SavedRun:
    """Reads a run back and checks that its texts are still those that it trained on.

    Args:
      folder: Folder of the run.
      cache_dir: Value of --cache_dir, where a corpus that is fetched by its name is kept.

    Raises:
      UserError: If there is no finished run in the folder, or its texts are no longer the same.
    """
    config, result = read(folder)
    clients, privacy = None, None
    if "partition" in config:
        clients = _group(folder, settings.ClientFlags, config)
        privacy = _group(folder, privacy_flags.PrivacyFlags, config)
    length = _group(folder, settings.RunFlags if clients else settings.CentralFlags, config)
    if result["rounds"] > (length.rounds if clients else length.epochs):
        _refuse(folder, f"{run_directory.RESULT} is damaged")
    model = _group(folder, settings.ModelFlags, config)
    corpus_flags, seed = _group(folder, settings.CorpusFlags, config), length.seed
    try:
        texts = data.load_data(corpus_flags, seed, cache_dir)
    except errors.UserError as error:
        _refuse(folder, f"its corpus cannot be loaded: {error}")
    for name, fingerprint in texts.fingerprints().items():
        if config.get(name) != fingerprint:
            flag = "test_corpus" if name.startswith("test") else "corpus"
            _refuse(folder, f"the texts of --{flag} have changed since")
    split = None
    if clients is not None:
        split = data.split_clients(clients, texts.train, seed)[1]
        if result["fingerprints"].get("partition") != split.train.checksum:
            _refuse(folder, "another version of the program dealt the texts to other clients")
    return SavedRun(folder, seed, clients, privacy, model, result, texts, split)


def read(folder: pathlib.Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """Returns configuration and result of a finished run.

    Raises:
      UserError: If there is no finished run in the folder, or either is damaged.
    """
    config = _read(folder, run_directory.CONFIG, "not a run")
    result = _read(folder, run_directory.RESULT, "the run is not finished")
    _check_result(folder, result)
    return config, result


def examples(run: SavedRun) -> Examples:
    """Returns what a run trained on, and what it did not."""
    if run.split is None or run.clients is None or run.privacy is None:
        everything = np.arange(len(run.texts.train))
        nobody = np.zeros(len(everything), np.int64)
        others = {TEST: np.arange(len(run.texts.test))}
        return Examples(everything, nobody, (), np.zeros(0, bool), _unseen(run, everything, others))
    train = run.split.train
    drawn = _drawn(run, run.clients, run.privacy, train.num_clients)
    holders = train.row_clients()
    trained = drawn[holders]
    members = train.rows[trained]
    others = {
        TEST: np.arange(len(run.texts.test)),
        CLIENTS: run.split.test.rows,
        HELD_OUT: run.split.held_out.rows,
        UNDRAWN: train.rows[~trained],
    }
    return Examples(
        members, holders[trained], train.client_ids, drawn, _unseen(run, members, others)
    )


def outputs(
    run: SavedRun, cache_dir: str, train_rows: np.ndarray, test_rows: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Returns the logits of the run's final model.

    Args:
      run: The run.
      cache_dir: Of tokens, as --cache_dir; empty for the usual one.
      train_rows: int64[n], rows of the training corpus.
      test_rows: int64[m], rows of the test corpus.

    Returns:
      float32[n, labels] and float32[m, labels].

    Raises:
      UserError: If the encoder or the exported model cannot be read, or do not belong together.
    """
    from experiments import task
    from tff_nlp.tasks import classification, prediction

    silence_libraries.import_keras_nlp()
    model = task.build_classifier(run.model, run.texts.train, run.seed)
    predict = classification.predictor(model)(_weights(run, model))
    found = []
    with _bar(len(train_rows) + len(test_rows), printable(str(run.folder))) as bar:
        for corpus, rows in ((run.texts.train, train_rows), (run.texts.test, test_rows)):
            if not len(rows):
                found.append(np.zeros([0, model.num_labels], np.float32))
                continue
            cache = task.tokenize(corpus, model, run.model.max_tokens, cache_dir)
            wanted = task.evaluation_set(
                "audit", cache, corpus.labels, model.tokenizer.pad_id, rows=rows
            )
            scored = prediction.predict_all(wanted, predict, model.num_labels, bar.update)
            found.append(scored)
    return found[0], found[1]


def _drawn(
    run: SavedRun,
    flags: settings.ClientFlags,
    privacy: privacy_flags.PrivacyFlags,
    clients: int,
) -> np.ndarray:
    """Returns bool[clients], which took part: the rounds' cohorts, drawn again."""
    # An audit's canaries are clients, too, numbered after those that hold texts.
    population = clients + privacy.audit_canaries
    cohort = cohorts.sampler(
        flags.sampling,
        _cohort_seed(run, flags.sampling, privacy),
        population,
        flags.clients_per_round,
    )
    drawn = np.zeros(population, bool)
    for number in range(run.result["rounds"]):
        drawn[cohort(number)] = True
    return drawn[:clients]


def _cohort_seed(run: SavedRun, sampling: str, privacy: privacy_flags.PrivacyFlags) -> int:
    """Returns what the run's cohorts were drawn from.

    Raises:
      UserError: If that is a secret, and not there.
    """
    secret = secret_file.read(run.folder)
    if privacy.noise_seed is None and secret is None and privacy.dp in names.CLIENT_LEVEL:
        _refuse(run.folder, f"{run_directory.PRIVATE}/, which says who took part, is missing")
    return privacy_plan.cohort_seed(sampling, privacy.dp, run.seed, secret)


def _unseen(
    run: SavedRun, members: np.ndarray, others: Mapping[str, np.ndarray]
) -> dict[str, np.ndarray]:
    """Returns the sources with the rows whose text is not also a member's."""
    seen = {run.texts.train.texts[row] for row in members}
    kept = {}
    for source, rows in others.items():
        texts = run.texts.test.texts if source == TEST else run.texts.train.texts
        kept[source] = np.array([row for row in rows if texts[row] not in seen], np.int64)
    return {source: rows for source, rows in kept.items() if len(rows)}


@dataclasses.dataclass(frozen=True)
class _Weights:
    trainable: list[np.ndarray]
    non_trainable: list[np.ndarray]


def _weights(run: SavedRun, model: "Classifier") -> _Weights:
    """Returns the exported weights, in the order of the model's names."""
    import tensorflow as tf

    from tff_nlp.serving import model_fingerprint, saved_models

    folder = run.folder / run_directory.MODEL
    model_fingerprint.check(folder, "--run")
    try:
        info = json.loads((folder / saved_models.INFO_FILE).read_text(encoding="utf-8"))
        vocabulary = info["tokenizer"]["fingerprint"]
        reader = tf.train.load_checkpoint(str(folder / "variables" / "variables"))
    except (OSError, ValueError, KeyError, TypeError, tf.errors.OpError) as error:
        _refuse(run.folder, f"its exported model cannot be read ({type(error).__name__})")
    if vocabulary != model.tokenizer.fingerprint:
        _refuse(run.folder, f"the vocabulary of --encoder={run.model.encoder} has changed since")
    shapes = reader.get_variable_to_shape_map()
    parts = []
    for attribute, specs in zip(("_trainable", "_frozen"), model.weight_specs(), strict=True):
        names = [f"{attribute}/{i}/.ATTRIBUTES/VARIABLE_VALUE" for i in range(len(specs))]
        if [shapes.get(name) for name in names] != [spec.shape.as_list() for spec in specs]:
            _refuse(run.folder, f"--encoder={run.model.encoder} has changed since")
        parts.append([reader.get_tensor(name) for name in names])
    return _Weights(*parts)


def _bar(total: int, name: str) -> tqdm.tqdm:
    # None: a bar on a terminal only.
    return tqdm.tqdm(total=total, desc=name, unit=" texts", file=sys.stderr, disable=None)


def _group(folder: pathlib.Path, group: type, config: Mapping[str, Any]) -> Any:
    """Returns a group of flags as the run had them."""
    try:
        return flag_groups.restore(group, config)
    except KeyError as error:
        _refuse(folder, f"saved by another version of the program, without --{error.args[0]}")
    except TypeError as error:
        _refuse(folder, f"{run_directory.CONFIG} is damaged at --{error}")
    except errors.UserError as error:
        _refuse(folder, f"{run_directory.CONFIG} is damaged: {error}")


def _check_result(folder: pathlib.Path, result: Mapping[str, Any]) -> None:
    """Refuses a result that no run wrote."""
    try:
        whole = (
            result["rounds"] > 0
            and 0 <= result["test"]["accuracy"] <= 1
            and isinstance(result["fingerprints"], dict)
            and isinstance(result.get("privacy", {"line": ""})["line"], str)
        )
    except (KeyError, TypeError, AttributeError):
        whole = False
    if not whole:
        _refuse(folder, f"{run_directory.RESULT} is damaged")


def _read(folder: pathlib.Path, name: str, missing: str) -> dict[str, Any]:
    if not folder.is_dir():
        _refuse(folder, "there is no such folder")
    path = folder / name
    if not path.exists():
        _refuse(folder, f"{missing}: {name} is missing")
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        _refuse(folder, f"{name} cannot be read ({error})")
    if not isinstance(value, dict):
        _refuse(folder, f"{name} cannot be read (it is no JSON object)")
    return value


def _refuse(folder: pathlib.Path, why: str) -> NoReturn:
    raise errors.UserError(f"--run={folder}: {why}")
