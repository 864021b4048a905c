import collections
import os
import pathlib
import subprocess
import sys
import textwrap

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_federated as tff

from tff_nlp.clients import partitions
from tff_nlp.clients.client_data import TokenClientData
from tff_nlp.clients.token_cache import TokenCache
from tff_nlp.errors import UserError

PAD = 7


@pytest.fixture(name="cache")
def cache_fixture():
    """Text `i` is the repeated token 10 + i, so a batch shows its rows."""
    lengths = np.random.default_rng(0).integers(2, 20, 200)
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    return TokenCache(np.repeat(np.arange(10, 210), lengths).astype(np.uint16), offsets, 20, "k")


@pytest.fixture(name="corpus")
def corpus_fixture(make_corpus):
    return make_corpus(200, authors=[f"Zoë {row % 9}" for row in range(200)])


@pytest.fixture(name="population")
def population_fixture(cache, corpus):
    return TokenClientData(
        cache, corpus.labels, partitions.natural(corpus), pad_id=PAD, batch_size=6
    )


def contents(dataset):
    return [(element["x"].numpy().tolist(), element["y"].numpy().tolist()) for element in dataset]


def rows_of(dataset):
    return [int(row[0]) - 10 for element in dataset for row in element["x"].numpy()]


def test_batches_hold_the_clients_rows_padded(population, cache, corpus):
    for client in range(9):
        dataset = population.round_dataset(client, seed=3)
        assert sorted(rows_of(dataset)) == population.partition.client_rows(client).tolist()
        for element in dataset:
            assert isinstance(element, collections.OrderedDict)
            x, y = element["x"].numpy(), element["y"].numpy()
            assert x.dtype == y.dtype == np.int32
            assert 1 <= len(x) <= 6
            rows = x[:, 0] - 10
            assert y.tolist() == corpus.labels[rows].tolist()
            assert x.shape[1] == cache.lengths[rows].max()
            for row, ids in zip(rows, x, strict=True):
                length = cache.lengths[row]
                assert ids[:length].tolist() == [10 + row] * length
                assert ids[length:].tolist() == [PAD] * (x.shape[1] - length)


def test_order_depends_on_the_seed(population):
    one = contents(population.round_dataset("Zoë 4", seed=1))
    assert one == contents(population.round_dataset(4, seed=1))
    assert one != contents(population.round_dataset(4, seed=2))
    # Two clients of a round have the same seed, but different orders.
    orders = [np.argsort(rows_of(population.round_dataset(client, 1))) for client in (6, 7)]
    assert len(orders[0]) == len(orders[1]) and not np.array_equal(*orders)
    assert contents(population.create_tf_dataset_for_client("Zoë 4")) == contents(
        population.create_tf_dataset_for_client("Zoë 4")
    )


def test_epochs_and_steps(cache, corpus):
    partition = partitions.natural(corpus)
    arguments = {"pad_id": PAD, "batch_size": 6}
    three = TokenClientData(cache, corpus.labels, partition, epochs=3, **arguments)
    rows = rows_of(three.round_dataset(0, 0))
    held = partition.client_rows(0).tolist()
    assert sorted(rows) == sorted(held * 3)
    assert rows[: len(held)] != rows[len(held) : 2 * len(held)]
    for steps in (1, 4, 11):
        data = TokenClientData(cache, corpus.labels, partition, local_steps=steps, **arguments)
        assert len(contents(data.round_dataset(5, 0))) == steps


def test_element_type(population):
    spec = collections.OrderedDict(
        x=tf.TensorSpec([None, None], tf.int32), y=tf.TensorSpec([None], tf.int32)
    )
    assert population.element_type_structure == spec
    for dataset in (
        population.round_dataset(0, 0),
        population.serializable_dataset_fn(tf.constant("Zoë 0")),
    ):
        assert dataset.element_spec == spec
        assert not dataset.options().autotune.enabled
    expected = tff.types.SequenceType(tff.types.StructWithPythonType(
        [("x", tff.TensorType(np.int32, [None, None])), ("y", tff.TensorType(np.int32, [None]))],
        collections.OrderedDict,
    ))  # fmt: skip
    assert population.dataset_computation.type_signature.result == expected


def test_cardinality_is_known(population):
    dataset = population.round_dataset(0, 0)
    assert dataset.cardinality().numpy() == len(list(dataset)) == 4


def test_variant_and_graph_forms(population):
    """Execution contexts pass data sets as a variant or as a serialized graph."""
    dataset = population.round_dataset(2, 0)
    expected = contents(dataset)
    variant = tf.data.experimental.to_variant(dataset)
    spec = population.element_type_structure
    assert contents(tf.data.experimental.from_variant(variant, spec)) == expected
    graph = tf.raw_ops.DatasetToGraphV2(input_dataset=variant)
    again = tf.raw_ops.DatasetFromGraph(graph_def=graph)
    assert contents(tf.data.experimental.from_variant(again, spec)) == expected


def test_serializable_form_equals_the_eager_one(population):
    traced = tf.function(population.serializable_dataset_fn)
    for client_id in population.client_ids:
        expected = contents(population.create_tf_dataset_for_client(client_id))
        assert contents(traced(tf.constant(client_id))) == expected
    with pytest.raises(tf.errors.InvalidArgumentError, match="no such client"):
        list(traced(tf.constant("Nobody")))


def test_tffs_own_methods(population, corpus):
    everything = population.create_tf_dataset_from_all_clients(seed=1)
    assert sorted(rows_of(everything)) == list(range(200))
    assert len(list(population.datasets(limit_count=3, seed=0))) == 3
    train, test = tff.simulation.datasets.ClientData.train_test_client_split(population, 2, seed=1)
    assert len(train.client_ids) == 7 and len(test.client_ids) == 2
    short = population.preprocess(lambda dataset: dataset.take(1))
    assert len(list(short.create_tf_dataset_for_client("Zoë 1"))) == 1


def test_unknown_clients(population):
    for client in ("Nobody", -1, 9):
        with pytest.raises(ValueError, match=r"not (a|one of the 9) client"):
            population.round_dataset(client, 0)
    with pytest.raises(ValueError, match="Nobody"):
        population.create_tf_dataset_for_client("Nobody")


def test_mistakes(cache, corpus, make_corpus):
    partition = partitions.natural(corpus)
    for flag, arguments in (
        ("batch_size=0", {"batch_size": 0}),
        ("client_epochs=0", {"batch_size": 2, "epochs": 0}),
        ("local_steps=-1", {"batch_size": 2, "local_steps": -1}),
    ):
        with pytest.raises(UserError, match=f"{flag}: must be 1 or more"):
            TokenClientData(cache, corpus.labels, partition, pad_id=0, **arguments)
    other = partitions.iid(make_corpus(50), 5, 0)
    with pytest.raises(ValueError, match="do not belong together"):
        TokenClientData(cache, corpus.labels, other, pad_id=0, batch_size=2)


@pytest.mark.parametrize("amount", [{"epochs": 20_000}, {"local_steps": 200_000}])
def test_large_populations_are_not_written_into_a_graph(make_corpus, amount):
    cache = TokenCache(np.ones(50 * 512, np.uint16), np.arange(51) * 512, 512, "k")
    partition = partitions.iid(make_corpus(50), 5, 0)
    data = TokenClientData(cache, np.zeros(50), partition, pad_id=0, batch_size=2, **amount)
    with pytest.raises(ValueError, match=r"5 clients \(.* GiB\) are too many"):
        data.serializable_dataset_fn  # noqa: B018


# The oracle runs in a separate process. TFF's worker outlives the process that started it, and
# killing it here would leave this process with a dead connection.
_FEDERATED_AVERAGING = textwrap.dedent(
    """
    import collections, json, os, pathlib, signal, sys
    import numpy as np
    import tensorflow as tf
    import tensorflow_federated as tff
    from tff_nlp.clients import partitions
    from tff_nlp.clients.client_data import TokenClientData
    from tff_nlp.clients.token_cache import TokenCache
    from tff_nlp.corpora.corpus import Corpus

    def workers():
        for status in pathlib.Path("/proc").glob("[0-9]*/stat"):
            try:
                name, _, rest = status.read_text().rpartition(")")
            except OSError:
                continue
            if int(rest.split()[1]) == os.getpid() and "worker_binary" in name:
                yield int(status.parent.name)

    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, 120).astype(np.int32)
    lengths = rng.integers(2, 9, 120)
    # Label 1 uses tokens 10 to 19, label 0 tokens 20 to 29.
    tokens = rng.integers(10, 20, lengths.sum()) + 10 * (1 - np.repeat(labels, lengths))
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    cache = TokenCache(tokens.astype(np.uint16), offsets, 9, "k")
    corpus = Corpus("c", tuple(map(str, range(120))), labels, ("no", "yes"))
    partition = partitions.dirichlet(corpus, 6, 0.5, 1)
    data = TokenClientData(cache, labels, partition, pad_id=0, batch_size=8)
    sgd = tff.learning.optimizers.build_sgdm

    def model_fn():
        model = tf.keras.Sequential([
            tf.keras.layers.Embedding(30, 8, mask_zero=True, embeddings_initializer="zeros"),
            tf.keras.layers.GlobalAveragePooling1D(),
            tf.keras.layers.Dense(2, kernel_initializer=tf.keras.initializers.Orthogonal(seed=1)),
        ])
        model.build([None, None])
        return tff.learning.models.from_keras_model(
            model, loss=tf.keras.losses.SparseCategoricalCrossentropy(from_logits=True),
            input_spec=data.element_type_structure)

    try:
        process = tff.learning.algorithms.build_weighted_fed_avg(model_fn, sgd(2.0), sgd(1.0))
        state = process.initialize()
        result = {"losses": [], "examples": [], "expected": []}
        for round_number in range(6):
            cohort = [(round_number + k) % 6 for k in range(4)]
            output = process.next(state, [data.round_dataset(c, round_number) for c in cohort])
            state = output.state
            train = output.metrics["client_work"]["train"]
            result["losses"].append(float(train["loss"]))
            result["examples"].append(int(train["num_examples"]))
            result["expected"].append(int(data.partition.sizes[cohort].sum()))
        name = data.client_ids[2]
        fetched = data.dataset_computation(name)
        result["fetched"] = sum(len(e["y"]) for e in fetched)
        result["held"] = int(data.partition.sizes[2])
        pathlib.Path(sys.argv[1]).write_text(json.dumps(result))
    finally:
        for pid in workers():
            os.kill(pid, signal.SIGKILL)
    """
)


@pytest.mark.slow
def test_federated_averaging_in_tffs_worker(tmp_path):
    """TFF's algorithm in TFF's worker learns from our data sets and sees every example."""
    import json

    output = tmp_path / "result.json"
    root = pathlib.Path(__file__).resolve().parents[2]
    with (tmp_path / "log").open("wb") as log:
        # The output goes to a file, because a surviving worker would keep a pipe open.
        finished = subprocess.run(
            [sys.executable, "-c", _FEDERATED_AVERAGING, str(output)],
            stdout=log,
            stderr=subprocess.STDOUT,
            cwd=root,
            env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "2", "CUDA_VISIBLE_DEVICES": "-1"},
        )
    assert finished.returncode == 0, (tmp_path / "log").read_text()[-3000:]
    result = json.loads(output.read_text())
    assert result["examples"] == result["expected"]
    assert result["losses"][0] == pytest.approx(np.log(2), abs=0.25)
    assert result["losses"][-1] < 0.5 * result["losses"][0]
    assert result["fetched"] == result["held"]
