"""Attacks the updates of a run's clients: which of their texts does the server read?"""

import dataclasses
import functools
import json
import pathlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf
import tensorflow_federated as tff
import tqdm

from tff_nlp import durable_files, errors, seeds, silence_libraries
from tff_nlp.clients import client_data, partition
from tff_nlp.execution import contexts
from tff_nlp.learning import client_input, client_work
from tff_nlp.learning.transforms import example_privacy
from tff_nlp.printable import printable
from tff_nlp.privacy import noise_secret
from tff_nlp.privacy.inversion import dager, rouge, span
from tff_nlp.program import run_directory
from tff_nlp.runs import (
    codings,
    configs,
    inversion_picture,
    processes,
    reporter,
    saved_run,
    scenarios,
    text_classifier,
    text_table,
    user_folders,
)
from tff_nlp.runs.configs.inversion import AS_RUN
from tff_nlp.runs.known_model import KnownModel

RESULT, PICTURE, TEXTS = "text_attack.json", "text_attack.png", "recovered_texts.json"


@dataclasses.dataclass(frozen=True, eq=False)
class Finding:
    """What the server read from one update.

    Attributes:
      texts: The texts of the client, in words.
      found: The texts that the server found.
      scores: How much came back.
      tokens: F-measure of the tokens that the table of embeddings reveals; None if it did not
        train.
    """

    texts: Sequence[rouge.Words]
    found: Sequence[rouge.Words]
    scores: rouge.Scores
    tokens: float | None


def attack(
    folder: pathlib.Path, options: configs.InversionConfig, cache_dir: str = ""
) -> Mapping[str, Any]:
    """Attacks updates of the first round in each scenario, and writes table, picture and texts.

    Args:
      folder: Folder of a finished federated run of a classifier of single texts.
      options: The options of the attack.
      cache_dir: See `saved_run.load`.

    Returns:
      The content of text_attack.json: the mean scores of each scenario that could be simulated.

    Raises:
      UserError: If the run is not suitable, or its texts have changed.
    """
    run = saved_run.configuration(folder)
    saved = saved_run.load(folder, cache_dir)
    if saved.texts.train.has_pairs:
        raise errors.UserError(f"{errors.setting('run', folder)}: the attack is for single texts")
    silence_libraries.import_keras_nlp()
    contexts.install("streaming")
    found: dict[str, dict[str, Any]] = {}
    texts: dict[str, Any] = {}

    @functools.cache  # Most scenarios have the same model.
    def build(model: configs.ModelConfig) -> text_classifier.TextClassifier:
        return text_classifier.build(
            saved.texts.train,
            model,
            user_folders.cache_dir(cache_dir),
            seed=saved.seed,
            logit_adjustment=0.0,
        )

    for name in options.chosen():
        why_not = scenarios.why_not_as_run(run) if name == AS_RUN else ""
        if why_not:
            reporter.say("skipped", [f"{name}: {why_not}"])
            continue
        reporter.say("scenario", [name.replace("_", " ")])
        scenario = scenarios.of(name, run, options)
        findings = list(_findings(saved, scenario, options, build(scenario.run.model)))
        found[name] = _means(findings)
        texts[name] = [{"texts": _joined(f.texts), "found": _joined(f.found)} for f in findings]
    written = {**dataclasses.asdict(options), "scenarios": found}
    durable_files.replace_text(folder / RESULT, json.dumps(written, indent=2) + "\n")
    private = folder / run_directory.PRIVATE / TEXTS
    durable_files.replace_text(private, json.dumps(texts, indent=2, ensure_ascii=False) + "\n")
    inversion_picture.draw(found, folder / PICTURE, title=printable(str(folder)))
    reporter.show(table(found))
    place = errors.verbatim(folder)
    reporter.say(
        "saved", [f"{place}: {RESULT}, {PICTURE}, {run_directory.PRIVATE}/{TEXTS} with the texts"]
    )
    return written


def table(found: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Returns the lines of the table for a terminal."""
    rows = [["scenario", "ROUGE-1", "ROUGE-2", "whole texts", "tokens"]]
    for name, scores in found.items():
        values = [scores[key] for key in ("rouge_1", "rouge_2", "exact", "tokens")]
        rows.append([name, *("-" if value is None else f"{value:.3f}" for value in values)])
    return text_table.aligned(rows)


def _findings(
    saved: saved_run.SavedRun,
    scenario: scenarios.Scenario,
    options: configs.InversionConfig,
    learner: text_classifier.TextClassifier,
) -> Iterator[Finding]:
    """Yields what the server reads of each victim."""
    weights = _weights(learner, scenario.later, options.seed)
    known = KnownModel(learner.model, weights, learner.config.max_tokens)
    clients, tokens = _Clients(saved, scenario, learner, weights), learner.tokens(saved.texts.train)
    groups = list(_drawn(saved, scenario, options))
    for number, group in enumerate(tqdm.tqdm(groups, leave=False, unit="client")):
        updates = [clients.update(rows, number) for rows in group]
        mean = [np.mean(parts, axis=0) for parts in zip(*updates, strict=True)]
        ids = [tuple(map(int, tokens.row(row))) for rows in group for row in rows]
        # One client is attacked. A sum over several clients has the texts of all of them.
        yield _read(known, mean, ids[: len(group[0])], len(ids), options.seed)


def _read(
    known: KnownModel,
    update: Sequence[np.ndarray],
    ids: Sequence[tuple[int, ...]],
    count: int,
    seed: int,
) -> Finding:
    """Returns what the server reads from an update.

    Args:
      known: The model as the server knows it.
      update: What the server sees.
      ids: The tokens of the attacked client's texts.
      count: Number of texts in the update.
      seed: Seed of the search.
    """
    revealed = known.revealed_tokens(update)
    seen = dager.Seen(
        known.all_tokens if revealed is None else revealed,
        span.of(known.readers_of_layer(update, 0)),
        span.of(known.readers_of_layer(update, 1)),
    )
    texts = [known.words(text) for text in ids]
    found = [known.words(text) for text in dager.recover(seen, known, count, seed)]
    own = {token for text in ids for token in text}
    score = None
    if revealed is not None:
        common = len(own & set(revealed.tolist()))
        score = 2 * common / (len(own) + len(revealed))
    return Finding(texts, found, rouge.compare(texts, found), score)


def _drawn(
    saved: saved_run.SavedRun, scenario: scenarios.Scenario, options: configs.InversionConfig
) -> Iterator[list[np.ndarray]]:
    """Yields the rows of each client of a group, whose first client is attacked."""
    assert saved.split is not None
    train = saved.split.train
    for victim in range(options.victims):
        # The first client, and the order of its rows, are the same in all scenarios.
        order = seeds.generator(options.seed, "attacked", victim).permutation(train.num_clients)
        group = []
        for client in order[: scenario.clients].tolist():
            generator = seeds.generator(options.seed, "attacked_rows", victim, client)
            rows = generator.permutation(train.client_rows(client))
            group.append(np.sort(rows[: scenario.sentences]))
        yield group


def _weights(learner: text_classifier.TextClassifier, later: float, seed: int) -> Any:
    """Returns the weights before the round."""
    trainable, frozen = learner.task.initial_weights()
    trainable = list(trainable)
    for number, factors in enumerate(learner.task.factors if later else ()):
        generator = seeds.generator(seed, "later_factors", number)
        shape = trainable[factors.b].shape
        trainable[factors.b] = later * generator.standard_normal(shape, np.float32)
    return tff.learning.models.ModelWeights(
        tuple(map(tf.constant, trainable)), tuple(map(tf.constant, frozen))
    )


class _Clients:
    """The clients of a scenario, which train as in a run."""

    def __init__(
        self,
        saved: saved_run.SavedRun,
        scenario: scenarios.Scenario,
        learner: text_classifier.TextClassifier,
        weights: Any,
    ) -> None:
        self._saved, self._scenario, self._learner = saved, scenario, learner
        local = processes.local_work(scenario.run, None)
        if scenario.noise is not None:
            privacy = example_privacy.ExamplePrivacy(
                clipping_norm=1.0,
                noise_multiplier=scenario.noise,
                expected_batch_size=scenario.run.client_training.batch_size,
            )
            local = dataclasses.replace(local, example_privacy=privacy)
        coding = codings.of_run(scenario.run)

        def update(client: Any) -> Any:
            deltas, _ = client_work.update(
                learner.task, local, tf.zeros([], tf.int32), weights, client
            )
            return deltas if coding is None else coding.decode(coding.encode(deltas))

        self._update = tf.function(update)

    def update(self, rows: np.ndarray, number: int) -> list[np.ndarray]:
        """Returns the update of a client with these rows.

        Args:
          rows: The rows of its texts.
          number: Number of the attack, for the client's noise.
        """
        run, train = self._scenario.run, self._saved.texts.train
        own = partition.Partition(
            client_ids=("attacked",),
            offsets=np.array([0, len(rows)]),
            rows=rows,
            kind="attacked",
            parameters={},
            seed=0,
            corpus_fingerprint=train.fingerprint,
            corpus_examples=len(train),
        )
        population = client_data.TokenClientData(
            self._learner.tokens(train),
            self._learner.targets(train),
            own,
            pad_id=self._learner.model.tokenizer.pad_id,
            batch_size=run.client_training.batch_size,
            epochs=run.federated.client_epochs,
            local_steps=run.federated.local_steps,
        )
        batches = population.round_dataset(0, number)
        if self._scenario.noise is not None:
            key = noise_secret.NoiseSecret.from_seed(number).key("inversion", number)
            batches = client_input.with_values(batches, noise_key=key)
        return [part.numpy() for part in self._update(batches)]


def _means(findings: Sequence[Finding]) -> dict[str, Any]:
    """Returns the mean scores over the victims."""
    scores = [dataclasses.asdict(finding.scores) for finding in findings]
    tokens = [finding.tokens for finding in findings if finding.tokens is not None]
    return {
        **{name: float(np.mean([s[name] for s in scores])) for name in scores[0]},
        "tokens": float(np.mean(tokens)) if tokens else None,
    }


def _joined(texts: Sequence[rouge.Words]) -> list[str]:
    return [" ".join(text) for text in texts]
