"""Training by a call: rounds over a corpus, and what can be done with the result."""

import contextlib
import dataclasses
import functools
import pathlib
import tempfile
from collections.abc import Mapping, Sequence
from typing import Any

import tensorflow_federated as tff

from tff_nlp import seeds
from tff_nlp.clients import client_data, cohorts
from tff_nlp.clients.partition import Partition
from tff_nlp.corpora.corpus import Corpus
from tff_nlp.execution import contexts, form_context
from tff_nlp.learning import client_input, composition
from tff_nlp.privacy.noise_secret import NoiseSecret
from tff_nlp.program import run_directory, secret_file, training
from tff_nlp.runs import learner as learners


@dataclasses.dataclass(frozen=True, eq=False)
class Trained:
    """What training gave.

    Attributes:
      learner: The classifier or language model that was trained.
      weights: Its weights now, `trainable` and `non_trainable`.
      scores: Scores of the last evaluation, by evaluation set; empty without a test corpus.
      rows: What was measured in each round, by the columns of metrics.csv.
    """

    learner: Any
    weights: Any
    scores: Mapping[str, Any]
    rows: Sequence[Mapping[str, str]]

    def evaluate(self, corpus: Corpus) -> Any:
        """Returns the scores on texts: accuracy and so on, or perplexity and so on.

        Args:
          corpus: The texts; for a classifier, with the label names that it was built for.
        """
        examples = self.learner.evaluation_set("test", corpus)
        return self.learner.task.score_set(self.weights, examples)

    def predict(self, texts: Sequence[str]) -> list[tuple[str, float]]:
        """Returns the most probable label of each text, and its probability."""
        return self.learner.predict(self.weights, texts)

    def generate(self, prompts: Sequence[str], **sampling: Any) -> list[str]:
        """Returns how texts go on (arguments as for `TextGenerator.generate`)."""
        return self.learner.generate(self.weights, prompts, **sampling)

    def export(self, folder: str | pathlib.Path) -> str:
        """Writes a SavedModel that takes raw strings; returns its fingerprint.

        Args:
          folder: Where to; an older export there is replaced.

        Raises:
          UserError: If the folder holds something else.
          WriteError: If it cannot be written.
        """
        return self.learner.export(self.weights, folder)


def train(
    process: Any,
    learner: learners.Learner,
    corpus: Corpus,
    clients: Partition,
    *,
    rounds: int,
    clients_per_round: int,
    batch_size: int = 32,
    epochs: int = 1,
    local_steps: int | None = None,
    sampling: str = "fixed",
    test: Corpus | None = None,
    eval_every: int = 5,
    seed: int = 0,
    output_dir: str | pathlib.Path | None = None,
) -> Trained:
    """Trains for some rounds in this process, with a progress bar.

    Where TFF's own context is installed, the streaming context takes its place, and stays.

    Args:
      process: What an algorithm returned for `learner.task`.
      learner: What `build_classifier` or `build_language_model` returned.
      corpus: The training texts.
      clients: Who holds which of its rows.
      rounds: How many rounds.
      clients_per_round: How many clients take part in each, on average with "poisson".
      batch_size: Most examples of a batch.
      epochs: Passes of a client over its examples in a round.
      local_steps: Batches of a client in a round, in place of epochs.
      sampling: Who takes part: "fixed", "poisson" or "cyclic".
      test: Texts to score the model on now and then, and at the end.
      eval_every: After how many rounds.
      seed: Every random choice derives from it, but for noise that protects people.
      output_dir: Receives checkpoints, metrics.csv and TensorBoard events, from which the same call
        goes on after a stop; None for nothing that stays.

    Raises:
      UserError: Where an argument is wrong.
      RunError: If training diverges or a file cannot be written.

    Example:
      ```
      process = tff_nlp.fed_avg(classifier.task, tff_nlp.LocalWork(seed=1))
      trained = tff_nlp.train(process, classifier, train, clients, rounds=5, clients_per_round=10)
      ```
    """
    population = client_data.TokenClientData(
        learner.tokens(corpus),
        learner.targets(corpus),
        clients,
        pad_id=learner.model.tokenizer.pad_id,
        batch_size=batch_size,
        epochs=epochs,
        local_steps=local_steps,
    )

    def brought(client: int, number: int, state: Any = None) -> Any:
        batches = population.round_dataset(client, seeds.derive(seed, "client_order", number))
        return client_input.with_values(batches, state=state)

    program = functools.partial(
        training.TrainingProgram,
        process=process,
        initial_state=lambda: composition.initial_state(process, learner.task),
        cohort=cohorts.sampler(
            sampling,
            seeds.derive(seed, "cohorts"),
            clients.num_clients,
            clients_per_round,
        ),
        client=brought,
        score=learner.task.score_set,
        evaluation_sets=[] if test is None else [learner.evaluation_set("test", test)],
        train_means=("loss", *learner.task.metrics),
        headline=f"test_{learner.task.report.headline}",
        rounds=rounds,
        eval_every=eval_every,
        checkpoint_every=1,
        client_id=lambda client: clients.client_ids[client],
    )
    settings = {
        "rounds": rounds,
        "clients_per_round": clients_per_round,
        "batch_size": batch_size,
        "epochs": epochs,
        "local_steps": local_steps,
        "sampling": sampling,
        "seed": seed,
        "corpus": corpus.fingerprint,
        "partition": clients.checksum,
    }
    _install_context()
    with contextlib.ExitStack() as stack:
        folder = output_dir or stack.enter_context(tempfile.TemporaryDirectory(prefix="tff_nlp-"))
        directory = stack.enter_context(run_directory.RunDirectory(pathlib.Path(folder), settings))
        directory.begin()
        # Mechanisms that draw noise take their keys from it; others do not look. Rounds that are
        # computed again have the same noise.
        secret = secret_file.read(directory.path) or NoiseSecret.fresh()
        secret_file.keep(directory.path, secret)
        outcome = program(noise_secret=secret).run(directory)
        weights = process.get_model_weights(outcome.state)
    return Trained(learner, weights, outcome.scores, outcome.rows)


def _install_context() -> None:
    """Makes the streaming context the default one, unless one of ours is that already."""
    current = tff.framework.get_context_stack().current
    if not isinstance(current, form_context.FormContext):
        contexts.install("streaming")
