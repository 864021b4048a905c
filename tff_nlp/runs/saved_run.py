"""Loads a finished run: its texts, its partitions, its members, and its model's outputs.

Only `outputs` imports TensorFlow, so that a damaged run is reported within seconds.
"""

import dataclasses
import json
import pathlib
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np
import tqdm

from tff_nlp import errors, silence_libraries
from tff_nlp.clients import cohorts, splits
from tff_nlp.printable import printable
from tff_nlp.privacy import names
from tff_nlp.privacy.noise_secret import cohort_seed
from tff_nlp.program import run_directory, secret_file
from tff_nlp.runs import configs, data, options, saved_partitions, user_folders
from tff_nlp.runs.configs.federated import DISTILLING
from tff_nlp.runs.configs.task_names import LANGUAGE_MODEL

if TYPE_CHECKING:
    from tff_nlp.models.classifier import Classifier

# The sources of examples that a run did not train on.
TEST, VALIDATION, CLIENTS, HELD_OUT, UNDRAWN = SOURCES = (
    "test",
    "validation",
    "clients",
    "held_out",
    "undrawn",
)


@dataclasses.dataclass(frozen=True, eq=False)
class SavedRun:
    """A finished run.

    Attributes:
      folder: Folder of the run.
      seed: Seed of the run.
      clients: The clients' config; None for a central run.
      privacy: The privacy config; None for a central run.
      model: The model's config.
      result: Content of result.json.
      texts: The corpora of the run.
      split: The clients' examples; None for a central run.
    """

    folder: pathlib.Path
    seed: int
    clients: configs.ClientsConfig | None
    privacy: configs.PrivacyConfig | None
    model: configs.ModelConfig
    result: Mapping[str, Any]
    texts: data.Data
    split: splits.ClientSplits | None


@dataclasses.dataclass(frozen=True, eq=False)
class Examples:
    """Examples of a run by source.

    Attributes:
      members: int64[n], rows of the training corpus that the run trained on.
      member_clients: int64[n], the position of each member's client in `client_ids`.
      client_ids: Ids of the training clients; empty for a central run.
      drawn: bool[clients], whether each training client took part in a round.
      others: Rows that the run did not train on, by source. `TEST` has rows of the test corpus. The
        other sources have rows of the training corpus: validation and test examples of training
        clients (`VALIDATION`, `CLIENTS`), examples of clients that never train (`HELD_OUT`), and
        examples of training clients that no round drew (`UNDRAWN`). Texts of members are left out.
        Empty sources are absent.
    """

    members: np.ndarray
    member_clients: np.ndarray
    client_ids: tuple[str, ...]
    drawn: np.ndarray
    others: Mapping[str, np.ndarray]


def load(folder: pathlib.Path, cache_dir: str = "") -> SavedRun:
    """Loads a run and checks that its texts have not changed.

    Args:
      folder: Folder of the run.
      cache_dir: Value of `cache_dir`. A corpus that is downloaded by its name is kept there.

    Raises:
      UserError: If there is no finished run in the folder, or its texts have changed.
    """
    config, result = read(folder)
    clients, privacy, public = None, None, None
    if "partition" in config:
        clients = group(folder, configs.ClientsConfig, config)
        privacy = group(folder, configs.PrivacyConfig, config)
        if config.get("algorithm") in DISTILLING:
            public = group(folder, configs.DistillationConfig, config)
    length = group(folder, configs.RoundsConfig if clients else configs.CentralConfig, config)
    if result["rounds"] > (length.rounds if clients else length.epochs):
        _refuse(folder, f"{run_directory.RESULT} is damaged")
    model = group(folder, configs.ModelConfig, config)
    corpus_flags, seed = group(folder, configs.CorpusConfig, config), length.seed
    if corpus_flags.task == LANGUAGE_MODEL:
        _refuse(folder, "is a language model; only classifiers can be audited")
    try:
        texts = data.load_data(corpus_flags, seed, cache_dir, public=public)
    except errors.UserError as error:
        _refuse(folder, f"its corpus cannot be loaded: {error.marked}")
    for name, fingerprint in texts.fingerprints().items():
        if config.get(name) != fingerprint:
            flag, _ = name.split()
            _refuse(folder, f"the texts of `{flag}` have changed since the run")
    split = None
    if clients is not None:
        holders = saved_partitions.read(folder, texts.train)
        if holders is None:
            _refuse(folder, f"{run_directory.PRIVATE}/partition is missing")
        split = holders.split
        if result["fingerprints"].get("partition") != split.train.checksum:
            _refuse(folder, f"{run_directory.PRIVATE}/partition belongs to another run")
    return SavedRun(folder, seed, clients, privacy, model, result, texts, split)


def configuration(folder: pathlib.Path) -> configs.FederatedRun:
    """Returns the configuration of a finished federated run.

    It has the recorded groups but that of the machine. The others have their defaults.

    Raises:
      UserError: If there is no finished federated run in the folder.
    """
    config, _ = read(folder)
    if "partition" not in config:
        _refuse(folder, "is a central run, and no client sent an update")
    kinds = options.groups_of(configs.FederatedRun)
    names = set(configs.FederatedRun.recorded_names()) - {"execution"}
    return configs.FederatedRun(**{name: group(folder, kinds[name], config) for name in names})


def read(folder: pathlib.Path, *, named: str = "") -> tuple[dict[str, Any], dict[str, Any]]:
    """Returns the configuration and the result of a finished run.

    Args:
      folder: Folder of the run.
      named: The folder in messages, a marked text; empty: the value of `run`.

    Raises:
      UserError: If there is no finished run in the folder, or one of the files is damaged.
    """
    config = _read(folder, run_directory.CONFIG, "not a run", named)
    result = _read(folder, run_directory.RESULT, "the run is not finished", named)
    _check_result(folder, result, named)
    return config, result


def model_of(folder: pathlib.Path) -> pathlib.Path:
    """Returns the folder of a run's model.

    Raises:
      UserError: If the run has none.
    """
    exported = folder / run_directory.MODEL
    if not exported.is_dir():
        _refuse(folder, "has no model")
    return exported


def examples(run: SavedRun) -> Examples:
    """Returns the examples that a run trained on, and those that it did not train on."""
    if run.split is None or run.clients is None or run.privacy is None:
        everything = np.arange(len(run.texts.train))
        no_clients = np.zeros(len(everything), np.int64)
        others = {TEST: np.arange(len(run.texts.test))}
        return Examples(
            everything, no_clients, (), np.zeros(0, bool), _unseen(run, everything, others)
        )
    train = run.split.train
    drawn = _drawn(run, run.clients, run.privacy, train.num_clients)
    holders = train.row_clients()
    trained = drawn[holders]
    members = train.rows[trained]
    others = {
        TEST: np.arange(len(run.texts.test)),
        VALIDATION: run.split.validation.rows,
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
      cache_dir: Value of `cache_dir`, the folder of token caches; empty for the default folder.
      train_rows: int64[n], rows of the training corpus.
      test_rows: int64[m], rows of the test corpus.

    Returns:
      float32[n, labels] and float32[m, labels].

    Raises:
      UserError: If the encoder or the exported model cannot be read, or they do not fit together.
    """
    import tensorflow_federated as tff

    from tff_nlp.models.adapters import folding
    from tff_nlp.runs import text_classifier
    from tff_nlp.tasks import classification, prediction

    silence_libraries.import_keras_nlp()
    learner = text_classifier.build(
        run.texts.train,
        run.model,
        user_folders.cache_dir(cache_dir),
        logit_adjustment=0.0,
        seed=run.seed,
    )
    # The run folded its low-rank factors into the matrices, which also changed their order.
    model, _, _ = folding.fold(learner.model, *learner.model.initial_weights())
    found = tff.learning.models.ModelWeights(*weights(run.folder, run.model.encoder, model))
    predict = classification.predictor(model)(found)
    logits = []
    with _bar(len(train_rows) + len(test_rows), printable(str(run.folder))) as bar:
        for corpus, rows in ((run.texts.train, train_rows), (run.texts.test, test_rows)):
            if not len(rows):
                logits.append(np.zeros([0, model.num_labels], np.float32))
                continue
            examples = learner.evaluation_set("audit", corpus, rows=rows)
            logits.append(prediction.predict_all(examples, predict, model.num_labels, bar.update))
    return logits[0], logits[1]


def _drawn(
    run: SavedRun,
    flags: configs.ClientsConfig,
    privacy: configs.PrivacyConfig,
    clients: int,
) -> np.ndarray:
    """Returns whether each client took part, bool[clients]. The cohorts are drawn again."""
    # Canaries of an audit are also clients. Their numbers follow those of the real clients.
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


def _cohort_seed(run: SavedRun, sampling: str, privacy: configs.PrivacyConfig) -> int:
    """Returns the seed of the run's cohorts.

    Raises:
      UserError: If it derives from a secret, and the secret is missing.
    """
    secret = secret_file.read(run.folder)
    if privacy.noise_seed is None and secret is None and privacy.dp in names.CLIENT_LEVEL:
        _refuse(run.folder, f"{run_directory.PRIVATE}/, which determines the cohorts, is missing")
    return cohort_seed(sampling, privacy.dp, run.seed, secret)


def _unseen(
    run: SavedRun, members: np.ndarray, others: Mapping[str, np.ndarray]
) -> dict[str, np.ndarray]:
    """Returns the sources without the rows that have the text of a member."""
    seen = {run.texts.train.examples[row] for row in members}
    kept = {}
    for source, rows in others.items():
        examples = (run.texts.test if source == TEST else run.texts.train).examples
        kept[source] = np.array([row for row in rows if examples[row] not in seen], np.int64)
    return {source: rows for source, rows in kept.items() if len(rows)}


def weights(
    folder: pathlib.Path, encoder_name: str, model: "Classifier"
) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Returns the weights that a run exported, in the order of the model's names.

    Args:
      folder: Folder of the run.
      encoder_name: Value of `encoder`, for messages.
      model: The classifier of the run, with its low-rank factors folded (`folding.fold`).

    Returns:
      The trainable and the frozen weights.

    Raises:
      UserError: If the exported model cannot be read, has changed, or has other weights.
    """
    import tensorflow as tf

    from tff_nlp.serving import model_fingerprint, saved_models

    exported = model_of(folder)
    model_fingerprint.check(exported, "run")
    try:
        info = json.loads((exported / saved_models.INFO_FILE).read_text(encoding="utf-8"))
        vocabulary = info["tokenizer"]["fingerprint"]
        reader = tf.train.load_checkpoint(str(exported / "variables" / "variables"))
    except (OSError, ValueError, KeyError, TypeError, tf.errors.OpError) as error:
        _refuse(folder, f"its exported model cannot be read ({type(error).__name__})")
    encoder = errors.setting("encoder", encoder_name)
    if vocabulary != model.tokenizer.fingerprint:
        _refuse(folder, f"the vocabulary of {encoder} has changed since the run")
    shapes = reader.get_variable_to_shape_map()
    parts = []
    for attribute, specs in zip(("_trainable", "_frozen"), model.weight_specs(), strict=True):
        names = [f"{attribute}/{i}/.ATTRIBUTES/VARIABLE_VALUE" for i in range(len(specs))]
        if [shapes.get(name) for name in names] != [spec.shape.as_list() for spec in specs]:
            _refuse(folder, f"{encoder} has changed since the run")
        parts.append([reader.get_tensor(name) for name in names])
    return parts[0], parts[1]


def _bar(total: int, name: str) -> tqdm.tqdm:
    # disable=None: only a terminal shows the bar.
    return tqdm.tqdm(total=total, desc=name, unit=" texts", file=sys.stderr, disable=None)


def group(folder: pathlib.Path, kind: type, config: Mapping[str, Any]) -> Any:
    """Returns a group of a run's configuration.

    Args:
      folder: Folder of the run, for messages.
      kind: Type of the group.
      config: The run's configuration.

    Raises:
      UserError: If an option is missing or has a value that it cannot have.
    """
    try:
        return options.restore(kind, config)
    except KeyError as error:
        _refuse(folder, f"saved by another version of the program, without `{error.args[0]}`")
    except TypeError as error:
        _refuse(folder, f"{run_directory.CONFIG} is damaged at `{error}`")
    except errors.UserError as error:
        _refuse(folder, f"{run_directory.CONFIG} is damaged: {error.marked}")


def _check_result(folder: pathlib.Path, result: Mapping[str, Any], named: str) -> None:
    """Refuses a result that a run cannot have written."""
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
        _refuse(folder, f"{run_directory.RESULT} is damaged", named)


def _read(folder: pathlib.Path, name: str, missing: str, named: str) -> dict[str, Any]:
    if not folder.is_dir():
        _refuse(folder, "there is no such folder", named)
    path = folder / name
    if not path.exists():
        _refuse(folder, f"{missing}: {name} is missing", named)
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        _refuse(folder, f"{name} cannot be read ({errors.verbatim(error)})", named)
    if not isinstance(value, dict):
        _refuse(folder, f"{name} cannot be read (it is no JSON object)", named)
    return value


def _refuse(folder: pathlib.Path, why: str, named: str = "") -> NoReturn:
    raise errors.UserError(f"{named or errors.setting('run', folder)}: {why}")
