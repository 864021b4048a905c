"""What one client does, against plain Keras training and by its own properties."""

import collections
import functools

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_federated as tff

from tests.learning.conftest import (
    LABELS,
    assert_same_weights,
    batches,
    client,
    client_rows,
    tiny_classifier,
    train,
    trainable,
)
from tff_nlp import errors
from tff_nlp.learning import (
    client_batches,
    composition,
    local_training,
    optimizers,
    schedules,
)
from tff_nlp.learning.algorithms import fed_avg, fed_prox
from tff_nlp.learning.client_work import LocalWork
from tff_nlp.learning.optimizers import ClientOptimizer
from tff_nlp.learning.transforms import proximal, transform
from tff_nlp.tasks import classification


@functools.cache
def _traced(model, optimizer, mu, tau=0.0):
    task = classification.classification(model, logit_adjustment=tau)
    transforms = transform.chain([proximal.proximal(mu)] if mu else [])
    weights, frozen = (tuple(map(tf.constant, w)) for w in model.initial_weights())
    spec = tf.data.DatasetSpec(task.batch_spec)

    @tf.function(input_signature=[spec, tf.TensorSpec([2], tf.int32)])
    def run(dataset, seed):
        return local_training.train(
            task,
            optimizer,
            weights,
            frozen,
            client_batches.read(task, dataset),
            learning_rate=tf.constant(optimizer.learning_rate),
            round_seed=seed,
            transform=transforms,
        )

    return run


def train_locally(model, optimizer, data, *, seed=(1, 2), mu=0.0, tau=0.0):
    """Returns the update and the sums of one client, without TFF."""
    deltas, sums = _traced(model, optimizer, mu, tau)(data, tf.constant(seed, tf.int32))
    return [d.numpy() for d in deltas], {k: v.numpy() for k, v in sums.items()}


def keras_training(model, optimizer, data, mu=0.0):
    """Returns the model's trainable weights after Keras trained them, and puts them back.

    The loss has the term mu / 2 * |w - initial w|^2 of FedProx (Li et al. 2020, equation 2).
    """
    network = model.keras_model
    initial = [v.numpy() for v in network.trainable_variables]
    optimizer.build(network.trainable_variables)
    for batch in data:
        with tf.GradientTape() as tape:
            losses = tf.nn.sparse_softmax_cross_entropy_with_logits(
                batch["y"], network(batch["x"], training=False)
            )
            loss = tf.reduce_mean(losses)
            if mu:
                pairs = zip(network.trainable_variables, initial, strict=True)
                loss += mu / 2 * tf.add_n([tf.reduce_sum((v - w) ** 2) for v, w in pairs])
        # Dense: Keras clips by the norm of a sparse gradient's rows as if none stood there twice.
        gradients = map(tf.convert_to_tensor, tape.gradient(loss, network.trainable_variables))
        optimizer.apply_gradients(zip(gradients, network.trainable_variables, strict=True))
    final = [v.numpy() for v in network.trainable_variables]
    for variable, value in zip(network.trainable_variables, initial, strict=True):
        variable.assign(value)
    return final


def after(model, deltas):
    return [w - d for w, d in zip(model.initial_weights()[0], deltas, strict=True)]


@pytest.fixture(scope="module")
def frozen_embeddings():
    return tiny_classifier(trainable="no_embeddings")


# Several tests share an optimizer, and with it one graph.
MOMENTUM = ClientOptimizer("sgd", 0.05, momentum=0.9)
ADAM = ClientOptimizer("adamw", 0.01, epsilon=1e-4)


class TestAgainstKeras:
    @pytest.mark.thorough
    @pytest.mark.parametrize("decay", [pytest.param(0.0, marks=pytest.mark.slow), 0.3])
    def test_adamw_with_decay_but_for_biases_and_norms(self, frozen_embeddings, decay):
        model, data = frozen_embeddings, client(frozen_embeddings, 3, epochs=2)
        deltas, _ = train_locally(
            model, ClientOptimizer("adamw", 0.01, weight_decay=decay, epsilon=1e-4), data
        )
        keras = tf.keras.optimizers.AdamW(0.01, weight_decay=decay, epsilon=1e-4)
        keras.exclude_from_weight_decay(var_names=["bias", "gamma", "beta"])
        assert_same_weights(model, after(model, deltas), keras_training(model, keras, data))

    @pytest.mark.thorough
    def test_adamw_with_sparse_embedding(self, model):
        data = client(model, 3)
        deltas, _ = train_locally(model, ADAM, data)
        keras = tf.keras.optimizers.AdamW(0.01, weight_decay=0.0, epsilon=1e-4)
        theirs = keras_training(model, keras, data)
        assert_same_weights(model, after(model, deltas), theirs)

    @pytest.mark.parametrize("norm", [0.05, pytest.param(1e6, marks=pytest.mark.slow)])
    def test_clipping_of_the_global_norm(self, model, norm):
        data = client(model, 4)
        deltas, _ = train_locally(model, ClientOptimizer("sgd", 0.5, clip_norm=norm), data)
        keras = tf.keras.optimizers.SGD(0.5, global_clipnorm=norm)
        assert_same_weights(model, after(model, deltas), keras_training(model, keras, data))
        if norm < 1:  # three steps, none longer than the rate times the norm
            assert np.sqrt(sum((d**2).sum() for d in deltas)) <= 3 * 0.5 * norm * 1.001

    @pytest.mark.thorough
    def test_momentum_over_epochs_and_partial_batches(self, model):
        data = client(model, 5, examples=7, epochs=3)
        deltas, sums = train_locally(model, MOMENTUM, data)
        theirs = keras_training(model, tf.keras.optimizers.SGD(0.05, 0.9), data)
        assert_same_weights(model, after(model, deltas), theirs)
        assert (sums["num_examples"], sums["num_batches"]) == (21, 6)

    @pytest.mark.thorough
    def test_the_proximal_term_pulls_back(self, model):
        data = client(model, 5, epochs=3)
        deltas, _ = train_locally(model, MOMENTUM, data, mu=2.0)
        theirs = keras_training(model, tf.keras.optimizers.SGD(0.05, 0.9), data, mu=2.0)
        assert_same_weights(model, after(model, deltas), theirs)
        free, _ = train_locally(model, MOMENTUM, data)
        lengths = [np.sqrt(sum((d**2).sum() for d in part)) for part in (deltas, free)]
        assert lengths[0] < 0.9 * lengths[1]


class TestLogitAdjustment:
    @pytest.mark.thorough
    def test_it_is_training_with_the_log_prior_in_the_bias_of_the_head(self, model):
        x, _ = client_rows(model, 8, 12)
        y = np.array([0] * 8 + [2] * 4, np.int32)
        data = batches(x, y, epochs=2)
        optimizer = ClientOptimizer("sgd", 0.2, momentum=0.5)
        deltas, sums = train_locally(model, optimizer, data, tau=0.5)

        bias = next(i for i, name in enumerate(model.trainable_names) if "head/bias" in name)
        variable = model.keras_model.trainable_variables[bias]
        before = variable.numpy()
        assert variable.shape == [LABELS]
        shift = 0.5 * np.log(np.array([17, 1, 9]) / 27)
        variable.assign(before + shift)
        try:
            theirs = keras_training(model, tf.keras.optimizers.SGD(0.2, 0.5), data)
        finally:
            variable.assign(before)
        theirs[bias] -= shift
        assert_same_weights(model, after(model, deltas), theirs)
        assert sums["num_examples"] == 24

    @pytest.mark.slow
    def test_a_client_with_one_label_hardly_teaches_it(self, model):
        x, y = client_rows(model, 9, 40)
        data = batches(x, np.full_like(y, 1))
        optimizer = ClientOptimizer("sgd", 0.1)
        lengths = [
            np.sqrt(sum((d**2).sum() for d in train_locally(model, optimizer, data, tau=tau)[0]))
            for tau in (0.0, 1.0)
        ]
        assert 0 < lengths[1] < 0.3 * lengths[0]


class TestEmbedding:
    @pytest.mark.thorough
    def test_rows_that_a_client_did_not_see_have_no_update(self, model):
        x, y = client_rows(model, 6, 9, tokens=np.arange(10, 20))
        optimizer = ClientOptimizer("adamw", 0.01, weight_decay=0.1)
        deltas, _ = train_locally(model, optimizer, batches(x, y))
        rows = np.abs(deltas[model.token_embedding]).sum(axis=1)
        seen = np.isin(np.arange(len(rows)), x)
        assert (rows[~seen] == 0).all()
        assert (rows[seen] > 0).all()

    @pytest.mark.thorough
    def test_local_rows_give_what_the_whole_table_gives(self, model):
        data = client(model, 7, epochs=2)
        optimizer = ClientOptimizer("sgd", 0.2, momentum=0.5, clip_norm=0.3)
        sparse, _ = train_locally(model, optimizer, data, mu=0.1)
        whole = tiny_classifier()
        object.__setattr__(whole, "token_embedding", None)
        dense, _ = train_locally(whole, optimizer, data, mu=0.1)
        for one, other in zip(sparse, dense, strict=True):
            np.testing.assert_allclose(one, other, atol=1e-6)

    def test_a_token_outside_of_the_vocabulary_is_an_error(self, model):
        x, y = client_rows(model, 8, 4)
        x[2, 0] = len(model.tokenizer.vocabulary)
        with pytest.raises(tf.errors.InvalidArgumentError):
            train_locally(model, MOMENTUM, batches(x, y))


class TestDropout:
    @pytest.mark.thorough
    def test_seeds_decide_the_masks(self):
        model = tiny_classifier(dropout=0.3)
        data, optimizer = client(model, 9), ClientOptimizer("sgd", 0.1)
        first, _ = train_locally(model, optimizer, data)
        again, _ = train_locally(model, optimizer, data)
        other, _ = train_locally(model, optimizer, data, seed=(1, 3))
        for a, b in zip(first, again, strict=True):
            np.testing.assert_array_equal(a, b)
        assert max(np.abs(a - b).max() for a, b in zip(first, other, strict=True)) > 1e-4

    @pytest.mark.slow
    def test_rounds_and_clients_have_masks_of_their_own(self):
        model = tiny_classifier(dropout=0.3)
        # So small a rate that the weights, and with them the loss, stay: only masks can differ.
        local = LocalWork(ClientOptimizer("sgd", 1e-12), seed=5)
        x, y = client_rows(model, 10, 8)
        data = [batches(x, y)]
        process, _, metrics = train(model, local, 2, data)
        losses = [float(m["client_work"]["train"]["loss"]) for m in metrics]
        assert losses[0] != losses[1]
        state = composition.initial_state(process, classification.classification(model))
        again = process.next(state, data).metrics["client_work"]["train"]["loss"]
        assert float(again) == losses[0]
        reordered = process.next(state, [batches(x[::-1].copy(), y[::-1].copy())])
        assert float(reordered.metrics["client_work"]["train"]["loss"]) != losses[0]


class TestOddClients:
    @pytest.mark.thorough
    def test_a_diverging_client_is_left_out_and_counted(self, model):
        local = LocalWork(ClientOptimizer("sgd", 1e30))
        process, state, metrics = train(model, local, 1, [client(model, 1), client(model, 2)])
        report = metrics[0]["client_work"]["train"]
        assert int(report["non_finite_clients"]) == 2
        assert (int(report["num_examples"]), float(report["loss"])) == (0, 0.0)
        for w, w0 in zip(trainable(process, state), model.initial_weights()[0], strict=True):
            np.testing.assert_array_equal(w, w0)

    def test_a_diverging_client_does_not_touch_the_others(self, model):
        deltas, sums = train_locally(model, ClientOptimizer("sgd", 1e30), client(model, 1))
        assert all((d == 0).all() for d in deltas)
        assert sums["non_finite"] == 1.0
        assert sums["num_examples"] == 0

    def test_an_empty_client_sends_nothing(self, model):
        nothing = client(model, 1).take(0)
        deltas, sums = train_locally(model, ADAM, nothing)
        assert all((d == 0).all() for d in deltas)
        assert (sums["num_examples"], sums["num_batches"], sums["non_finite"]) == (0, 0, 0.0)

    @pytest.mark.thorough
    def test_shuffling_data_is_read_once(self, model):
        x, y = client_rows(model, 11, 12)
        rows = tf.data.Dataset.from_tensor_slices(collections.OrderedDict(x=x, y=y))
        data = rows.shuffle(12, reshuffle_each_iteration=True).batch(1)
        deltas, sums = train_locally(model, MOMENTUM, data)
        assert sums["num_examples"] == 12
        assert all(np.isfinite(d).all() for d in deltas)


class TestProcess:
    @pytest.mark.thorough
    def test_the_schedule_scales_the_rate_by_round(self, model):
        schedule = schedules.LinearSchedule(warmup_rounds=1, total_rounds=4)
        local = LocalWork(ClientOptimizer("sgd", 0.2), schedule)
        task = classification.classification(model)
        process = fed_avg.fed_avg(task, local)
        state = composition.initial_state(process, task)
        weights, lengths = process.get_model_weights(state), []
        for _ in range(5):
            # From the same weights and in one step, the update is the gradient times the rate.
            output = process.next(state, [client(model, 1, 10, size=10)])
            lengths.append(float(output.metrics["finalizer"]["update_norm"]))
            state = process.set_model_weights(output.state, weights)
        # An update is what is left of weights up to 1, which round by 2^-24, and ten times shorter.
        np.testing.assert_allclose(
            np.array(lengths) / lengths[1], [1 / 2, 1, 2 / 3, 1 / 3, 0], rtol=1e-3
        )

    @pytest.mark.thorough
    def test_frozen_weights_stay_and_are_not_sent(self):
        model = tiny_classifier(trainable="head")
        process, state, _ = train(model, LocalWork(), 2, [client(model, 1)])
        weights = process.get_model_weights(state)
        for w, w0 in zip(weights.non_trainable, model.initial_weights()[1], strict=True):
            np.testing.assert_array_equal(w, w0)
        assert [len(weights.trainable), len(weights.non_trainable)] == [
            len(model.trainable_names),
            len(model.frozen_names),
        ]
        sent = process.next.type_signature.parameter[0].member.global_model_weights.trainable
        assert len(sent) == 2  # the head's kernel and bias

    def test_initialization_alone_is_no_state_to_train_from(self, model):
        process = fed_avg.fed_avg(classification.classification(model))
        weights = process.get_model_weights(process.initialize())
        assert all(np.isnan(w).all() for w in weights.trainable)

    def test_the_type_of_the_weights(self, model):
        weights = classification.classification(model).weights_type()
        assert weights.python_container is tff.learning.models.ModelWeights
        shapes = [tuple(t.shape) for _, t in tff.structure.iter_elements(weights.trainable)]
        assert shapes == [w.shape for w in model.initial_weights()[0]]

    @pytest.mark.thorough
    def test_metrics_are_means_over_examples(self, model):
        local = LocalWork(ClientOptimizer("sgd", 1e-12), seed=5)
        rows = [client_rows(model, s, n) for s, n in ((1, 10), (2, 3))]
        _, _, metrics = train(model, local, 1, [batches(*r) for r in rows])
        x, y = (np.concatenate(parts) for parts in zip(*rows, strict=True))
        logits = model.keras_model(x)
        loss = tf.keras.losses.SparseCategoricalCrossentropy(from_logits=True)(y, logits)
        report = metrics[0]["client_work"]["train"]
        assert float(report["loss"]) == pytest.approx(float(loss), rel=1e-5)
        accuracy = np.mean(np.argmax(logits, axis=1) == y)
        assert float(report["accuracy"]) == pytest.approx(float(accuracy), rel=1e-6)


@pytest.mark.parametrize(
    ("name", "decayed"),
    [
        ("head/kernel", True),
        ("token_embedding/embeddings", True),
        ("transformer_layer_0/self_attention/query/bias", False),
        ("embeddings_layer_norm/gamma", False),
        ("transformer_layer_1/feedforward_layer_norm/beta", False),
    ],
)
def test_what_decays(name, decayed):
    assert local_training.is_decayed(name) is decayed


def test_every_weight_of_the_model_has_a_known_kind(model):
    last = {name.rsplit("/", 1)[-1] for name in model.trainable_names}
    assert last <= {"kernel", "bias", "gamma", "beta", "embeddings", "position_embeddings"}


@pytest.mark.parametrize(
    ("arguments", "flag"),
    [
        ({"name": "adam"}, "client_optimizer=adam"),
        ({"learning_rate": 0.0}, "client_learning_rate=0.0"),
        ({"learning_rate": float("nan")}, "client_learning_rate=nan"),
        ({"momentum": 1.0}, "client_momentum=1.0"),
        ({"name": "adamw", "momentum": 0.9}, "client_momentum=0.9"),
        ({"weight_decay": 0.1}, "client_weight_decay=0.1"),
        ({"name": "adamw", "weight_decay": -1.0}, "client_weight_decay=-1.0"),
        ({"clip_norm": 0.0}, "client_clip_norm=0.0"),
        ({"name": "adamw", "epsilon": 0.0}, "client_epsilon=0.0"),
        ({"name": "adamw", "beta_2": 1.0}, "client_beta_2=1.0"),
    ],
)
def test_a_wrong_client_optimizer_names_the_flag(arguments, flag):
    with pytest.raises(errors.UserError, match=flag):
        ClientOptimizer(**arguments)


@pytest.mark.parametrize(
    ("arguments", "flag"),
    [
        ({"name": "lamb"}, "server_optimizer=lamb"),
        ({"learning_rate": -1.0}, "server_learning_rate=-1.0"),
        ({"name": "adam", "momentum": 0.9}, "server_momentum=0.9"),
        ({"name": "adam", "epsilon": 0.0}, "server_epsilon=0.0"),
    ],
)
def test_a_wrong_server_optimizer_names_the_flag(arguments, flag):
    with pytest.raises(errors.UserError, match=flag):
        optimizers.ServerOptimizer(**arguments)


@pytest.mark.parametrize(
    ("arguments", "flag"),
    [
        ({"proximal_strength": 0.0}, "proximal_strength=0.0"),
        ({"proximal_strength": float("nan")}, "proximal_strength=nan"),
    ],
)
def test_a_wrong_proximal_term_names_the_flag(model, arguments, flag):
    with pytest.raises(errors.UserError, match=flag):
        fed_prox.fed_prox(classification.classification(model), **arguments)


def test_a_wrong_adjustment_names_the_flag(model):
    with pytest.raises(errors.UserError, match="logit_adjustment=-1.0"):
        classification.classification(model, logit_adjustment=-1.0)


def test_a_wrong_weighting_names_the_flag():
    with pytest.raises(errors.UserError, match="weighting=loss"):
        LocalWork(weighting="loss")


@pytest.mark.parametrize(
    "arguments", [{"warmup_rounds": -1}, {"warmup_rounds": 5, "total_rounds": 5}]
)
def test_a_wrong_schedule_names_the_flag(arguments):
    with pytest.raises(errors.UserError, match="warmup_rounds"):
        schedules.LinearSchedule(**arguments)
