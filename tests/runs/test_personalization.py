"""Models of clients on quadratics: which number of steps is chosen, and what is scored."""

import collections
import csv
import dataclasses

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_federated as tff

from tff_nlp.clients import partition, splits
from tff_nlp.learning.client_work import LocalWork
from tff_nlp.learning.optimizers import ClientOptimizer
from tff_nlp.runs import personalization
from tff_nlp.tasks import foreign_model

RATE, START, MOST = 0.5, 0.0, 6
# Each client has eight training examples with one label, then some for validation and for test.
TRAIN = {"near": 8, "far": 8, "between": 8, "bare": 8}
VALIDATION = {"near": 8, "far": 0, "between": 5}
TEST = {"near": 8, "far": 8, "between": -9, "bare": 8}
LABELS = np.array([*np.repeat([*TRAIN.values()], 8), *VALIDATION.values(), *TEST.values()])


def _partition(labels, first, each):
    """The rows from `first` on, so many for each client."""
    count = len(labels)
    return partition.Partition(
        client_ids=tuple(labels),
        offsets=np.arange(count + 1) * each,
        rows=first + np.arange(count * each),
        kind="natural",
        parameters={},
        seed=0,
        corpus_fingerprint="",
        corpus_examples=len(LABELS),
    )


SPLIT = splits.ClientSplits(
    train=_partition(TRAIN, 0, 8),
    validation=_partition(VALIDATION, 32, 1),
    test=_partition(TEST, 35, 1),
    held_out=_partition({}, 0, 1),
    duplicates_left_out=0,
)


class Tokens:
    """Texts of one token."""

    lengths = np.ones(len(LABELS), np.int32)

    def __len__(self):
        return len(LABELS)

    def gather(self, rows, places, size, pad_id):
        return np.zeros(size, np.int32)


@dataclasses.dataclass(frozen=True)
class Scored:
    loss: float

    def columns(self, name):
        return {f"{name}_loss": self.loss}


class Learner:
    """A model of one weight w with the loss (w - label)^2 / 2."""

    class model:  # noqa: N801 - it stands for an attribute.
        class tokenizer:  # noqa: N801
            pad_id = 0

    def __init__(self):
        spec = collections.OrderedDict(
            x=tf.TensorSpec([None, None], tf.int32), y=tf.TensorSpec([None], tf.int32)
        )

        @tf.function
        def predict(weights, x, training=True):
            return tf.zeros([tf.shape(x)[0]]) + weights[0][0]

        @tf.function
        def loss(output, label, sample_weight=None):
            return tf.reduce_mean(0.5 * (output - tf.cast(label, tf.float32)) ** 2)

        task = foreign_model.from_functional_model(
            tff.learning.models.FunctionalModel(
                initial_weights=((np.float32(START),), ()),
                predict_on_batch_fn=predict,
                loss_fn=loss,
                input_spec=spec,
            )
        )
        self.task = dataclasses.replace(task, score_set=self._score)

    def tokens(self, corpus):
        return Tokens()

    def targets(self, corpus):
        return LABELS.astype(np.int32)

    def evaluation_set(self, name, corpus, *, rows):
        return LABELS[rows]

    def _score(self, weights, labels):
        return Scored(float(np.mean(half_square(float(weights.trainable[0]), labels))))


def half_square(weight, label):
    return 0.5 * (weight - label) ** 2


def after(steps, label=8):
    """The weight after so many steps, by hand."""
    return label + (START - label) * (1 - RATE) ** steps


WEIGHTS = tff.learning.models.ModelWeights((np.float32(START),), ())


@pytest.fixture(scope="module")
def tuned():
    return personalization.fine_tune(
        Learner(),
        WEIGHTS,
        LocalWork(ClientOptimizer("sgd", RATE)),
        None,
        SPLIT,
        most_steps=MOST,
        batch_size=4,
        sampled=["near", "far"],
    )


def test_validation_examples_choose_the_steps(tuned):
    tried = [0, 1, 2, 4, 6]
    assert personalization.numbers_of_steps(MOST) == tried
    best = {
        name: min(tried, key=lambda steps: half_square(after(steps), label))
        for name, label in VALIDATION.items()
    }
    assert best == {"near": 6, "far": 0, "between": 1}
    # A client without validation examples keeps the final model. No choice depends on TEST, for
    # which other numbers are best.
    assert {c.client: c.steps for c in tuned.clients} == {**best, "bare": 0}
    for client in tuned.clients:
        label = TEST[client.client]
        assert client.before == pytest.approx(half_square(START, label))
        assert client.after == pytest.approx(half_square(after(client.steps), label), rel=1e-5)


def test_the_summary_is_over_clients(tuned, tmp_path):
    scores = [(c.before, c.after) for c in tuned.clients]
    found = tuned.to_json()
    for place, name in enumerate(("before", "after")):
        column = [pair[place] for pair in scores]
        assert found[name] == {
            "mean": pytest.approx(np.mean(column)),
            # The largest loss is the worst.
            "worst_decile": pytest.approx(max(column)),
            "standard_deviation": pytest.approx(np.std(column)),
        }
    # Only "between" went the wrong way.
    assert (found["harmed"], found["clients"], found["never_sampled"]) == (0.25, 4, 2)
    assert "25% of 4 clients are worse off; 2 never took part" in tuned.line()
    tuned.write(tmp_path / "personal.csv")
    with (tmp_path / "personal.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(float(row["before"]), float(row["after"])) for row in rows] == scores
    assert [row["took_part"] for row in rows] == ["True", "True", "False", "False"]
    assert (tmp_path / "personal.csv").stat().st_mode & 0o077 == 0


def test_a_client_without_a_model_of_its_own_counts_with_the_final_one():
    class Process:
        @staticmethod
        def own_model(weights, own):
            return tff.learning.models.ModelWeights(tuple(own), weights.non_trainable)

    kept = {"near": [np.float32(7.0)], "between": [np.float32(1.0)]}
    found = personalization.own_models(
        Learner(), WEIGHTS, Process(), kept.get, None, SPLIT.test, clients=["near", "far"]
    )
    assert [(c.client, c.took_part, c.steps) for c in found.clients] == [
        ("near", True, None),
        ("far", False, None),
    ]
    assert [c.after for c in found.clients] == [half_square(7.0, 8), half_square(START, 8)]
    assert (found.never_sampled, found.harmed) == (1, 0.0)


def test_a_process_without_models_of_clients_is_refused():
    class Process:
        own_model = None

    with pytest.raises(ValueError, match="no models of their own"):
        personalization.own_models(Learner(), WEIGHTS, Process(), {}.get, None, SPLIT.test)
