"""Federated training with one call, and the trained model."""

import contextlib
import dataclasses
import pathlib
import tempfile
from collections.abc import Mapping, Sequence
from typing import Any

import tensorflow_federated as tff

from tff_nlp import errors
from tff_nlp.clients import client_data
from tff_nlp.clients.partition import Partition
from tff_nlp.corpora.corpus import Corpus
from tff_nlp.execution import contexts, form_context
from tff_nlp.learning import client_input, composition
from tff_nlp.privacy import contract, contract_terms, guarantee, names, statement
from tff_nlp.program import run_directory, secret_file, training
from tff_nlp.runs import learner as learners
from tff_nlp.runs.drawing import Drawing

# The mechanisms that measure their noise, so that it can be compared with a guarantee.
_MEASURED = (names.GAUSSIAN, names.ADAPTIVE_CLIPPING)


@dataclasses.dataclass(frozen=True, eq=False)
class Trained:
    """The result of training.

    Attributes:
      learner: The classifier or language model that was trained.
      weights: The trained weights, `trainable` and `non_trainable`.
      scores: Scores of the last evaluation, by evaluation set; empty without a test corpus.
      rows: Metrics of each round, by column of metrics.csv.
      privacy: The privacy statement of the rounds; None without a guarantee.
    """

    learner: Any
    weights: Any
    scores: Mapping[str, Any]
    rows: Sequence[Mapping[str, str]]
    privacy: statement.PrivacyStatement | None = None

    def evaluate(self, corpus: Corpus) -> Any:
        """Returns the scores on texts: accuracy and others, or perplexity and others.

        Args:
          corpus: The texts. For a classifier, the label names must be those of its training corpus.
        """
        examples = self.learner.evaluation_set("test", corpus)
        return self.learner.task.score_set(self.weights, examples)

    def predict(self, texts: Sequence[str]) -> list[tuple[str, float]]:
        """Returns the most probable label of each text, and its probability."""
        return self.learner.predict(self.weights, texts)

    def generate(self, prompts: Sequence[str], **sampling: Any) -> list[str]:
        """Returns the continuations of texts (arguments: see `TextGenerator.generate`)."""
        return self.learner.generate(self.weights, prompts, **sampling)

    def export(self, folder: str | pathlib.Path) -> str:
        """Writes a SavedModel that takes raw strings, and returns its fingerprint.

        Args:
          folder: Folder of the SavedModel. An older export in it is replaced.

        Raises:
          UserError: If the folder has other content.
          WriteError: If the SavedModel cannot be written.
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
    sampling: str | None = None,
    adjacency: str = "auto",
    promised: guarantee.Guarantee | None = None,
    test: Corpus | None = None,
    eval_every: int = 5,
    seed: int = 0,
    output_dir: str | pathlib.Path | None = None,
    show_progress: bool = True,
) -> Trained:
    """Trains for some rounds in this process, and shows the progress.

    If TFF's own context is installed, this function replaces it with the streaming context.

    Cohorts, batches and keys are drawn as the accountant of the process assumes. With DP-SGD,
    batches are Poisson samples with `batch_size` examples on average.

    Args:
      process: Result of an algorithm for `learner.task`.
      learner: Result of `build_classifier` or `build_language_model`.
      corpus: The training texts.
      clients: The partition of the training texts.
      rounds: Number of rounds.
      clients_per_round: Number of clients per round; with "poisson", the expected number.
      batch_size: Maximum number of examples in a batch.
      epochs: Number of local epochs in a round.
      local_steps: Number of batches of a client in a round, instead of epochs.
      sampling: How cohorts are drawn: "fixed", "poisson" or "cyclic". None for the sampling that
        the mechanism of the process assumes, or "fixed" without a mechanism.
      adjacency: How neighbouring data sets differ in the claimed epsilon: "add_or_remove",
        "replace_one", or "auto" for what the mechanism's accountant assumes.
      promised: The guarantee for the clients, if the process has the mechanism "gaussian" or
        "adaptive_clipping". It becomes the statement in `Trained.privacy`, and training fails if
        the rounds differ from it. None for no statement.
      test: Texts for the evaluation during training and at the end; None for no evaluation.
      eval_every: Number of rounds between two evaluations.
      seed: Seed of all random choices, except those that protect privacy.
      output_dir: Folder of checkpoints, metrics.csv and TensorBoard events. The same call resumes a
        training that was stopped. None for a temporary folder.
      show_progress: Whether standard error shows a progress bar, or lines if it is no terminal.

    Raises:
      UserError: If an argument is wrong.
      RunError: If training diverges or a file cannot be written.

    Example:
      ```
      process = tff_nlp.fed_avg(classifier.task, tff_nlp.LocalWork(seed=1))
      trained = tff_nlp.train(process, classifier, train, clients, rounds=5, clients_per_round=10)
      ```
    """
    conduct = getattr(process, "conduct", contract_terms.Conduct())
    context = _install_context()
    drawn = contract_terms.Rounds(
        sampling=sampling or contract.sampling_for(conduct.aggregator.mechanism, adjacency),
        poisson_batches=conduct.by_example,
        adjacency=adjacency,
        max_failed_clients=context.max_failed_clients,
        secure_sums=_kind_of_sums(conduct, context),
    )
    contract.check(conduct, drawn)
    if promised is not None:
        _check_promise(process, promised, drawn, clients, clients_per_round)
    population = client_data.TokenClientData(
        learner.tokens(corpus),
        learner.targets(corpus),
        clients,
        pad_id=learner.model.tokenizer.pad_id,
        batch_size=batch_size,
        epochs=epochs,
        local_steps=local_steps,
        poisson=drawn.poisson_batches,
    )
    settings: dict[str, Any] = {
        "rounds": rounds,
        "clients_per_round": clients_per_round,
        "batch_size": batch_size,
        "epochs": epochs,
        "local_steps": local_steps,
        "sampling": drawn.sampling,
        "seed": seed,
        "corpus": corpus.fingerprint,
        "partition": clients.checksum,
    }
    if promised is not None:
        settings["promised"] = dataclasses.asdict(promised)
    with contextlib.ExitStack() as stack:
        folder = output_dir or stack.enter_context(tempfile.TemporaryDirectory(prefix="tff_nlp-"))
        directory = stack.enter_context(run_directory.RunDirectory(pathlib.Path(folder), settings))
        directory.begin()
        # Mechanisms with noise derive their keys from the secret. It is kept, so that a round that
        # is repeated has the same noise.
        secret = secret_file.read_or_make(directory, needed=conduct.is_private)
        secret_file.keep(directory.path, secret)
        drawing = Drawing(conduct, drawn, seed, secret)

        def data_of(client: int, number: int, state: Any = None) -> Any:
            batches = population.round_dataset(client, drawing.order(number))
            key = drawing.key(client, number)
            return client_input.with_values(batches, state=state, noise_key=key)

        program = training.TrainingProgram(
            process=process,
            initial_state=lambda: composition.initial_state(process, learner.task),
            cohort=drawing.cohorts(clients.num_clients, clients_per_round),
            client=data_of,
            score=learner.task.score_set,
            evaluation_sets=[] if test is None else [learner.evaluation_set("test", test)],
            train_means=("loss", *learner.task.metrics),
            headline=f"test_{learner.task.report.headline}",
            rounds=rounds,
            eval_every=eval_every,
            checkpoint_every=1,
            guarantee=promised,
            noise_secret=secret,
            client_id=lambda client: clients.client_ids[client],
            drawn=drawn,
            show_progress=show_progress,
        )
        outcome = program.run(directory)
        weights = process.get_model_weights(outcome.state)
    return Trained(learner, weights, outcome.scores, outcome.rows, outcome.privacy)


def _check_promise(
    process: Any,
    promised: guarantee.Guarantee,
    drawn: contract_terms.Rounds,
    clients: Partition,
    clients_per_round: int,
) -> None:
    """Refuses a guarantee for other rounds. The program compares mechanism and noise with it."""
    measured = process.next.type_signature.result.metrics.member["aggregator"]
    if promised.mechanism not in _MEASURED or not hasattr(measured, "noise_multiplier"):
        raise errors.UserError(
            f"`promised`: needs an aggregator of `build_aggregator` with {' or '.join(_MEASURED)}, "
            "which measures its noise"
        )
    for name, value, actual in (
        ("population", promised.population, clients.num_clients),
        ("clients_per_round", promised.clients_per_round, clients_per_round),
        ("sampling", promised.sampling, drawn.sampling),
    ):
        if value != actual:
            raise errors.UserError(
                f"`promised`: its {name} is {value}, and that of the rounds is {actual}"
            )


def _kind_of_sums(conduct: contract_terms.Conduct, context: Any) -> str:
    """Returns how the installed context computes secure sums."""
    if not context.secure_protocols:
        return names.PLAIN
    return names.CKKS if conduct.aggregator.encrypted else names.MASKED


def _install_context() -> form_context.FormContext:
    """Installs the streaming context, unless a context of this package is installed."""
    current = tff.framework.get_context_stack().current
    if not isinstance(current, form_context.FormContext):
        current = contexts.install("streaming")
    return current
