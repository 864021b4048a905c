"""DP-SGD inside a client, against gradients of examples taken one by one with Keras."""

import collections
import functools

import numpy as np
import pytest
import tensorflow as tf
from scipy import stats

from tests.learning.conftest import batches, client_rows, tiny_classifier
from tff_nlp import errors
from tff_nlp.learning import client_batches, client_input, composition, local_training
from tff_nlp.learning.algorithms import fed_avg
from tff_nlp.learning.client_work import LocalWork
from tff_nlp.learning.optimizers import ClientOptimizer
from tff_nlp.learning.transforms import example_privacy, transform
from tff_nlp.learning.transforms.example_privacy import ExamplePrivacy
from tff_nlp.privacy.noise_secret import NoiseSecret
from tff_nlp.tasks import classification

RATE = 0.5
SECRET = NoiseSecret(bytes(range(32)))
KEY = SECRET.key("client", 0, 0)


@functools.cache
def _traced(model, privacy):
    task = classification.classification(model)
    weights, frozen = (tuple(map(tf.constant, w)) for w in model.initial_weights())
    spec = tf.data.DatasetSpec(task.batch_spec)

    @tf.function(input_signature=[spec, client_input.KEY_SPEC])
    def run(dataset, key):
        gradient_of = local_training.batch_gradient
        if privacy is not None:
            gradient_of = example_privacy.private_gradient(task, key, privacy)
        return local_training.train(
            task,
            ClientOptimizer("sgd", RATE),
            weights,
            frozen,
            client_batches.read(task, dataset),
            learning_rate=tf.constant(RATE),
            round_seed=tf.constant([1, 2]),
            transform=transform.chain([]),
            gradient_of=gradient_of,
            sparse=privacy is None,
        )

    return run


def update_of(model, data, privacy, key=KEY):
    """Returns what a client sends after SGD with the rate 1/2, one array per weight."""
    deltas, sums = _traced(model, privacy)(data, tf.constant(key))
    return [d.numpy() for d in deltas], sums


def one_by_one(model, x, y, norm):
    """Returns the sum of the clipped gradients, and the norms before clipping."""
    network = model.keras_model
    total, norms = [np.zeros(v.shape) for v in network.trainable_variables], []
    for tokens, label in zip(x, y, strict=True):
        with tf.GradientTape() as tape:
            logits = network(tokens[tf.newaxis], training=False)
            loss = tf.nn.sparse_softmax_cross_entropy_with_logits([label], logits)
        gradients = tape.gradient(loss, network.trainable_variables)
        gradients = [tf.convert_to_tensor(g).numpy() for g in gradients]
        norms.append(np.sqrt(sum((g.astype(np.float64) ** 2).sum() for g in gradients)))
        total = [t + g * min(1.0, norm / norms[-1]) for t, g in zip(total, gradients, strict=True)]
    return total, np.array(norms)


@pytest.mark.thorough
@pytest.mark.parametrize(
    "trainable", ["all", pytest.param("no_embeddings", marks=pytest.mark.slow), "head"]
)
def test_a_step_is_the_mean_of_gradients_clipped_one_by_one(trainable):
    model = tiny_classifier(trainable=trainable)
    x, y = client_rows(model, 3, 9)
    _, norms = one_by_one(model, x, y, np.inf)
    norm = float(np.median(norms))  # so that some are clipped and some are not
    expected, _ = one_by_one(model, x, y, norm)
    deltas, _ = update_of(model, batches(x, y, size=9), ExamplePrivacy(norm, 0.0, 12))
    for ours, total in zip(deltas, expected, strict=True):
        np.testing.assert_allclose(ours, RATE * total / 12, rtol=2e-4, atol=2e-6)


@pytest.mark.thorough
def test_without_noise_and_clipping_it_is_plain_training(model):
    x, y = client_rows(model, 4, 8)
    private, _ = update_of(model, batches(x, y, size=4), ExamplePrivacy(1e3, 0.0, 4))
    plain, _ = update_of(model, batches(x, y, size=4), None)
    for ours, theirs in zip(private, plain, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-3, atol=1e-6)


NOISY = ExamplePrivacy(clipping_norm=0.3, noise_multiplier=1.7, expected_batch_size=5)


def empty(count=1):
    """Batches that Poisson sampling left without examples."""
    rows = collections.OrderedDict(x=np.zeros([count, 0, 1], np.int32), y=np.zeros([count, 0]))
    data = tf.data.Dataset.from_tensor_slices(rows)
    return data.map(lambda e: collections.OrderedDict(x=e["x"], y=tf.cast(e["y"], tf.int32)))


@pytest.mark.thorough
def test_a_batch_of_nobody_is_noise_of_the_stated_deviation_on_every_weight(model):
    (deltas, sums), (again, _) = (update_of(model, empty(), NOISY) for _ in range(2))
    other, _ = update_of(model, empty(), NOISY, key=SECRET.key("client", 1, 0))
    noise, repeated, fresh = (
        np.concatenate([np.ravel(d) for d in u]) for u in (deltas, again, other)
    )
    np.testing.assert_array_equal(noise, repeated)
    assert abs(np.corrcoef(noise, fresh)[0, 1]) < 6 / np.sqrt(len(noise))
    stddev = RATE * NOISY.noise_multiplier * NOISY.clipping_norm / NOISY.expected_batch_size
    low, high = stats.chi2.ppf([1e-6, 1 - 1e-6], len(noise)) / len(noise)
    assert low < np.mean((noise / stddev) ** 2) < high
    # Also on the rows of tokens that the client does not have, which would tell that it has not.
    assert np.any(deltas[model.token_embedding] != 0, axis=1).all()
    assert int(sums["num_examples"]) == 0 and float(sums["non_finite"]) == 0


def test_the_noise_of_steps_is_independent(model):
    (one, _), (two, _) = (update_of(model, empty(n), NOISY) for n in (1, 2))
    first = np.concatenate([np.ravel(d) for d in one])
    both = np.concatenate([np.ravel(d) for d in two])
    # Clients differ by their data, and both of these have none: the second has the first's step.
    assert abs(np.corrcoef(first, both - first)[0, 1]) < 6 / np.sqrt(len(first))
    assert np.std(both) == pytest.approx(np.sqrt(2) * np.std(first), rel=0.05)


@pytest.mark.parametrize(
    ("values", "flag"),
    [
        ((0.0, 1.0, 4), "clipping_norm"),
        ((1.0, -1.0, 4), "noise_multiplier"),
        ((1.0, float("nan"), 4), "noise_multiplier"),
        ((1.0, 1.0, 0), "batch_size"),
    ],
)
def test_values_out_of_range_name_the_flag(values, flag):
    with pytest.raises(errors.UserError, match=flag):
        ExamplePrivacy(*values)


@pytest.mark.slow
def test_ordinary_batches_do_not_fit(model):
    """They used to be trained on, as if they had been Poisson samples."""
    task = classification.classification(model)
    local = LocalWork(weighting="uniform", example_privacy=ExamplePrivacy(1.0, 1.0, 4))
    process = fed_avg.fed_avg(task, local)
    state = composition.initial_state(process, task)
    with pytest.raises(TypeError, match="noise_key"):
        process.next(state, [batches(*client_rows(model, 3, 4))])


@pytest.mark.thorough
def test_without_a_key_nothing_is_sent(model):
    x, y = client_rows(model, 3, 4)
    deltas, sums = update_of(
        model, batches(x, y), ExamplePrivacy(1.0, 1.0, 4), key=np.zeros(8, np.uint32)
    )
    assert all(np.count_nonzero(d) == 0 for d in deltas) and float(sums["non_finite"]) == 1


@pytest.mark.thorough
def test_one_example_that_is_not_finite_leaves_the_others(model, monkeypatch):
    """A NaN gradient used to blank the whole client: the test of its norm is false of NaN."""
    x, y = client_rows(model, 5, 3)
    score = classification.score

    def broken(logits, labels):
        last = tf.reduce_all(tf.equal(labels, y[2]))
        found = score(logits, labels)
        return found._replace(losses=found.losses * tf.where(last, np.nan, 1.0))

    y[:2] = (y[2] + 1) % 3
    good, _ = update_of(model, batches(x[:2], y[:2]), ExamplePrivacy(0.1, 0.0, 3))
    monkeypatch.setattr(classification, "score", broken)
    monkeypatch.setitem(globals(), "_traced", _traced.__wrapped__)  # Nothing traced before.
    found, sums = update_of(model, batches(x, y), ExamplePrivacy(0.1, 0.0, 3))
    for ours, expected in zip(found, good, strict=True):
        np.testing.assert_allclose(ours, expected, rtol=1e-4, atol=1e-7)
    assert float(sums["non_finite"]) == 0 and int(sums["num_examples"]) == 3


@pytest.mark.slow
def test_dropout_of_an_example_does_not_depend_on_the_other_examples():
    """Else one example would change the gradients of all, which clipping does not bound."""
    model = tiny_classifier(dropout=0.3)
    x, y = client_rows(model, 6, 3)
    other_x, other_y = x.copy(), y.copy()
    other_x[0], other_y[0] = x[0][::-1], (y[0] + 1) % 3

    def last_of(x, y):
        """Returns what the third example adds to a batch of three."""
        three, two = (
            update_of(model, batches(x[:n], y[:n]), ExamplePrivacy(1e3, 0.0, 3))[0] for n in (3, 2)
        )
        return np.concatenate([np.ravel(a - b) for a, b in zip(three, two, strict=True)])

    np.testing.assert_allclose(last_of(x, y), last_of(other_x, other_y), rtol=1e-3, atol=1e-6)


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("changes", "flag"),
    [
        (("examples", 0.0), "weighting=examples"),
        (("uniform", 0.5), "logit_adjustment=0.5"),
    ],
)
def test_what_voids_the_epsilon_is_refused(model, changes, flag):
    weighting, tau = changes
    task = classification.classification(model, logit_adjustment=tau)
    local = LocalWork(weighting=weighting, example_privacy=ExamplePrivacy(1.0, 1.0, 4))
    with pytest.raises(errors.UserError, match=flag):
        fed_avg.fed_avg(task, local)
    fed_avg.fed_avg(task, local, allow_dp_mismatch=True)
