"""Scores the clients with models of their own: fine-tuned, or kept from the rounds."""

import concurrent.futures
import dataclasses
import os
from collections.abc import Callable, Collection, Sequence
from typing import Any

import numpy as np

from tff_nlp import seeds
from tff_nlp.clients import client_data, partition, splits
from tff_nlp.corpora.corpus import Corpus
from tff_nlp.learning import client_work, fine_tuning, stateful
from tff_nlp.program import client_states, run_directory, training
from tff_nlp.runs import configs, reporter
from tff_nlp.runs import learner as learners
from tff_nlp.runs.configs.personalization import FINE_TUNE, NONE, OWN_MODEL
from tff_nlp.runs.personal_scores import ClientScore, PersonalScores


def fine_tune(
    learner: learners.Learner,
    weights: Any,
    local: client_work.LocalWork,
    corpus: Corpus,
    split: splits.ClientSplits,
    *,
    most_steps: int = 16,
    batch_size: int = 32,
    seed: int = 0,
    clients: Collection[str] | None = None,
    sampled: Collection[str] | None = None,
) -> PersonalScores:
    """Scores each client before and after local steps from the final model.

    The numbers of steps that are tried are 0, 1, 2, 4 and so on. A client takes the number with
    the smallest loss on its validation examples, and the smaller number if two are equal. A client
    without validation examples takes no steps. The test examples only give the scores.

    Args:
      learner: Result of `build_classifier` or `build_language_model`.
      weights: The final weights, `trainable` and `non_trainable`.
      local: How clients train. The learning rate is that before the schedule.
      corpus: The training texts.
      split: The training, validation and test examples of the clients.
      most_steps: Largest number of steps.
      batch_size: Maximum number of examples in a batch.
      seed: Seed of the order of the training examples.
      clients: Ids of the clients to score; None for all that have test examples.
      sampled: Ids of the clients that took part in a round; None if that is not known.

    Raises:
      ValueError: If no client has test examples.

    Example:
      ```
      split = splits.split_clients(clients, corpus, 0, validation_fraction=0.1, test_fraction=0.1)
      trained = tff_nlp.train(process, classifier, corpus, split.train, rounds=5, ...)
      scores = personalization.fine_tune(classifier, trained.weights, local, corpus, split)
      print(scores.line())
      ```
    """
    population = client_data.TokenClientData(
        learner.tokens(corpus),
        learner.targets(corpus),
        split.train,
        pad_id=learner.model.tokenizer.pad_id,
        batch_size=batch_size,
        local_steps=most_steps,
    )
    order = seeds.derive(seed, "fine_tune")
    tune = fine_tuning.fine_tuner(learner.task, local)
    tried = numbers_of_steps(most_steps)

    def own_model(client: str) -> _Own:
        took_part = None if sampled is None else client in sampled
        if client not in split.validation.index:
            return _Own(weights, 0, took_part)
        batches = population.round_dataset(client, order)
        best, fewest, least = weights, 0, np.inf
        for steps in tried:
            tuned = tune(weights, batches, steps) if steps else weights
            loss = _score(learner, tuned, corpus, split.validation, client)["loss"]
            if loss < least:
                best, fewest, least = tuned, steps, loss
        return _Own(best, fewest, took_part)

    return _scores(FINE_TUNE, learner, weights, own_model, corpus, split.test, clients)


def own_models(
    learner: learners.Learner,
    weights: Any,
    process: stateful.StatefulProcess,
    state_of: Callable[[str], Sequence[Any] | None],
    corpus: Corpus,
    test: partition.Partition,
    *,
    clients: Collection[str] | None = None,
) -> PersonalScores:
    """Scores each client with the final model, and with the model that it keeps.

    A client that took part in no round has no model of its own. Both of its scores are those of the
    final model.

    Args:
      learner: Result of `build_classifier` or `build_language_model`.
      weights: The final weights, `trainable` and `non_trainable`.
      process: Result of an algorithm with models of clients, such as `ditto`.
      state_of: Function from a client's id to its state, or None before its first round.
      corpus: The training texts.
      test: The test examples of the clients.
      clients: Ids of the clients to score; None for all that have test examples.

    Raises:
      ValueError: If no client has test examples, or clients of the process have no models.
    """
    if process.own_model is None:
        raise ValueError("the clients of this process have no models of their own")
    make = process.own_model

    def own_model(client: str) -> _Own:
        state = state_of(client)
        if state is None:
            return _Own(weights, None, took_part=False)
        return _Own(make(weights, state), None, took_part=True)

    return _scores(OWN_MODEL, learner, weights, own_model, corpus, test, clients)


def of_run(
    run: configs.FederatedRun,
    learner: learners.Learner,
    weights: Any,
    program: training.TrainingProgram,
    local: client_work.LocalWork,
    corpus: Corpus,
    split: splits.ClientSplits,
    directory: run_directory.RunDirectory,
) -> PersonalScores | None:
    """Returns the scores of a run's clients; None if it asks for none or no client has test rows.

    The clients are those of the evaluation set "clients".

    Args:
      run: The configuration.
      learner: The trained model.
      weights: The final weights.
      program: The program that was run.
      local: How clients train.
      corpus: The training texts.
      split: The examples of the clients.
      directory: Directory of the run, with the clients' states.
    """
    how = run.personalization.personalize
    if how == NONE:
        return None
    scored = [s.clients for s in program.evaluation_sets if s.name == "clients"]
    members = [
        split.test.client_ids[client]
        for holders in scored
        if holders is not None
        for client in np.unique(holders)
    ]
    if not members:
        reporter.say("note", [f"`personalize`={how}: no client has test examples"])
        return None
    reporter.say("personal", [f"{how}: {len(members)} clients are scored on their test examples"])
    if how == OWN_MODEL:
        folder = directory.path / run_directory.CLIENT_STATES
        kept = client_states.ClientStates(folder, directory.identity)
        specs = program.process.client_specs
        return own_models(
            learner,
            weights,
            program.process,
            lambda client: kept.load(client, specs),
            corpus,
            split.test,
            clients=members,
        )
    drawn = {
        split.train.client_ids[int(client)]
        for number in range(program.rounds)
        for client in program.cohort(number)
        # The positions of canaries follow those of the clients.
        if client < split.train.num_clients
    }
    return fine_tune(
        learner,
        weights,
        local,
        corpus,
        split,
        most_steps=run.personalization.fine_tune_steps,
        batch_size=run.client_training.batch_size,
        seed=run.rounds.seed,
        clients=members,
        sampled=drawn,
    )


def numbers_of_steps(most: int) -> list[int]:
    """Returns the numbers of steps to try: 0, the powers of two below `most`, and `most`."""
    powers = (1 << place for place in range(most.bit_length()))
    return [0, *(power for power in powers if power < most), most]


@dataclasses.dataclass(frozen=True)
class _Own:
    """A client's own model, and what `ClientScore` says of it."""

    weights: Any
    steps: int | None
    took_part: bool | None


def _scores(
    how: str,
    learner: learners.Learner,
    weights: Any,
    own_model: Callable[[str], _Own],
    corpus: Corpus,
    test: partition.Partition,
    clients: Collection[str] | None,
) -> PersonalScores:
    """Returns the scores of the clients, which are trained and scored on all cores."""
    members = list(test.client_ids if clients is None else clients)
    if not members:
        raise ValueError("no client has test examples")
    headline = learner.task.report.headline

    def score(client: str) -> ClientScore:
        own = own_model(client)
        before, after = (
            _score(learner, model, corpus, test, client)[headline]
            for model in (weights, own.weights)
        )
        return ClientScore(
            client=client,
            examples=len(test.client_rows(test.index[client])),
            took_part=own.took_part,
            steps=own.steps,
            before=before,
            after=after,
        )

    first = score(members[0])  # It traces the functions that the other clients use.
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        others = list(pool.map(score, members[1:]))
    return PersonalScores(how, learner.task.report, (first, *others))


def _score(
    learner: learners.Learner,
    weights: Any,
    corpus: Corpus,
    part: partition.Partition,
    client: str,
) -> dict[str, float]:
    """Returns the scores of a model on a client's rows, by name."""
    rows = part.client_rows(part.index[client])
    examples = learner.evaluation_set("", corpus, rows=rows)
    columns = learner.task.score_set(weights, examples).columns("")
    return {name.removeprefix("_"): value for name, value in columns.items()}
