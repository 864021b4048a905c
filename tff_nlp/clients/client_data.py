"""A TFF `ClientData` that reads the token cache."""

import collections
import dataclasses
import functools
from collections.abc import Callable

import numpy as np
import tensorflow as tf
import tensorflow_federated as tff

from tff_nlp import seeds
from tff_nlp.clients import batching
from tff_nlp.clients.partition import Partition
from tff_nlp.clients.token_cache import TokenCache
from tff_nlp.errors import UserError, setting

# Maximum size of what `serializable_dataset_fn` writes into a graph. A graph has at most 2 GiB.
_MAX_GRAPH_BYTES = 1 << 30

_ELEMENT_SPEC = collections.OrderedDict(
    x=tf.TensorSpec([None, None], tf.int32), y=tf.TensorSpec([None], tf.int32)
)


class TokenClientData(tff.simulation.datasets.ClientData):
    """Batches of token ids and labels of each client, from a token cache.

    Elements are `OrderedDict(x=int32[batch, length], y=int32[batch])`. Each batch is padded to its
    longest text; `batching.plan_epoch` describes how batches are made. The data set of a client is
    its training data in one round: `epochs` passes over its examples, or `local_steps` batches.

    Training uses `round_dataset`, which has a different order in each round. The methods that TFF
    defines, such as `create_tf_dataset_for_client`, have no round and use one fixed order.
    """

    def __init__(
        self,
        cache: TokenCache,
        labels: np.ndarray,
        partition: Partition,
        *,
        pad_id: int,
        batch_size: int,
        epochs: int = 1,
        local_steps: int | None = None,
        window_batches: int = batching.WINDOW_BATCHES,
        poisson: bool = False,
    ) -> None:
        """Initializes the population. It reads no data yet.

        Args:
          cache: The tokens of the corpus.
          labels: The labels of the corpus, int32[examples].
          partition: The rows of the corpus that each client holds.
          pad_id: Id of the padding.
          batch_size: Maximum number of examples in a batch.
          epochs: Number of passes over the client's examples, each in a different order.
          local_steps: Number of batches per client, from as many passes as needed. It replaces
            `epochs`. None uses `epochs`.
          window_batches: Number of batches in a window, in which texts are sorted by length. 1
            turns the grouping by length off.
          poisson: Whether each example joins each batch independently, as the accounting of DP-SGD
            assumes. Otherwise each example occurs once per epoch.

        Raises:
          UserError: If a number is below 1.
          ValueError: If cache, labels and partition belong to different corpora.
        """
        for flag, value in (
            ("batch_size", batch_size),
            ("client_epochs", epochs),
            ("local_steps", 1 if local_steps is None else local_steps),
        ):
            if value < 1:
                raise UserError(f"{setting(flag, value)}: must be 1 or more")
        if not len(cache) == len(labels) == partition.corpus_examples:
            raise ValueError(
                f"{len(cache)} tokenized texts, {len(labels)} labels and a partition of "
                f"{partition.corpus_examples} examples do not belong together"
            )
        self._cache = cache
        self._labels = np.asarray(labels, dtype=np.int32)
        self._partition = partition
        self._pad_id = pad_id
        self._batch_size = batch_size
        self._epochs = epochs
        self._local_steps = local_steps
        self._window_batches = window_batches
        self._poisson = poisson
        self._default_seed = seeds.derive(0, "default_order")

    @functools.cached_property
    def client_ids(self) -> list[str]:
        """The names of the clients, in the order of the partition."""
        return list(self._partition.client_ids)

    @property
    def partition(self) -> Partition:
        """The rows of the corpus that each client holds."""
        return self._partition

    @property
    def element_type_structure(self) -> "collections.OrderedDict[str, tf.TensorSpec]":
        """`OrderedDict(x=int32[?, ?], y=int32[?])`."""
        return _ELEMENT_SPEC.copy()

    def round_dataset(self, client: str | int, seed: int) -> tf.data.Dataset:
        """Returns a client's training data in one round.

        Args:
          client: The id of the client or its position.
          seed: Seed of the order, for example derived from the run's seed and the round. The order
            also depends on the client's id, so all clients of a round may have the same seed.

        Returns:
          A data set of batches. The same arguments give the same batches.

        Raises:
          ValueError: If there is no such client.
        """
        return _listed_dataset(self._batches(self._position(client), seed))

    def create_tf_dataset_for_client(self, client_id: str) -> tf.data.Dataset:
        """Returns the client's data set in a fixed random order.

        Raises:
          ValueError: If there is no such client.
        """
        return self.round_dataset(client_id, self._default_seed)

    @functools.cached_property
    def serializable_dataset_fn(self) -> Callable[[str], tf.data.Dataset]:
        """A traceable function from a client id to the client's data set in its fixed order.

        The batches of all clients become constants of the graph, as in TFF's own in-memory
        `ClientData`. Use it for small populations only.

        Raises:
          ValueError: If the batches of all clients are too large for a graph.
        """
        clients = range(self._partition.num_clients)
        self._check_graph_size()
        everyone = [self._batches(client, self._default_seed) for client in clients]
        tokens, labels = (
            np.concatenate([getattr(batches, field) for batches in everyone])
            for field in ("tokens", "labels")
        )
        first_token, first_label, first_batch = (
            _starts([len(getattr(batches, field)) for batches in everyone])
            for field in ("tokens", "labels", "table")
        )
        table = np.concatenate(
            [
                batches.table + np.array([first_token[client], first_label[client], 0, 0])
                for client, batches in enumerate(everyone)
            ]
        )
        ids = np.array(
            [name.encode("utf-8", "surrogatepass") for name in self._partition.client_ids], object
        )

        def dataset_fn(client_id: str) -> tf.data.Dataset:
            # It compares all names, because a lookup table would need an initialization.
            found = tf.where(tf.equal(tf.constant(ids), client_id))[:, 0]
            one = tf.debugging.Assert(tf.equal(tf.size(found), 1), ["no such client:", client_id])
            with tf.control_dependencies([] if one is None else [one]):
                client = tf.reduce_sum(found)
            start, end = tf.gather(first_batch, client), tf.gather(first_batch, client + 1)
            return _mapped_dataset(
                tf.constant(tokens), tf.constant(labels), tf.constant(table)[start:end]
            )

        return dataset_fn

    def _position(self, client: str | int) -> int:
        if isinstance(client, str):
            if client not in self._partition.index:
                raise ValueError(f"{client!r} is not a client of this population")
            return self._partition.index[client]
        if not 0 <= client < self._partition.num_clients:
            raise ValueError(
                f"client {client} is not one of the {self._partition.num_clients} clients"
            )
        return int(client)

    def _batches(self, client: int, seed: int) -> "_Batches":
        rows = self._partition.client_rows(client)
        lengths = self._cache.lengths[rows]
        rng = seeds.generator(seed, "batches", self._partition.client_ids[client])
        if self._poisson:
            steps = batching.poisson_steps(
                len(rows), self._batch_size, self._epochs, self._local_steps
            )
            plan = batching.plan_poisson_steps(len(rows), self._batch_size, rng, steps)
        elif self._local_steps is None:
            plan = batching.plan_epochs(
                lengths, self._batch_size, rng, self._epochs, self._window_batches
            )
        else:
            plan = batching.plan_steps(
                lengths, self._batch_size, rng, self._local_steps, self._window_batches
            )
        sizes, widths = np.diff(plan.offsets), plan.widths(lengths)
        ends = np.cumsum(sizes * widths)
        # Where each text begins: the begin of its batch, plus its place in the batch.
        within = np.arange(len(plan.order)) - np.repeat(plan.offsets[:-1], sizes)
        places = np.repeat(ends - sizes * widths, sizes) + within * np.repeat(widths, sizes)
        chosen = rows[plan.order]
        return _Batches(
            tokens=self._cache.gather(chosen, places, int(ends[-1]), self._pad_id),
            labels=self._labels[chosen],
            table=np.stack([ends - sizes * widths, plan.offsets[:-1], sizes, widths], axis=1),
        )

    def _check_graph_size(self) -> None:
        sizes, lengths = self._partition.sizes, self._cache.lengths[self._partition.rows]
        passes = np.full(len(sizes), float(self._epochs))
        if self._local_steps is not None:
            passes = self._local_steps * np.minimum(self._batch_size, sizes) / sizes
        size = 4 * float(np.sum(passes * np.add.reduceat(lengths, self._partition.offsets[:-1])))
        if size > _MAX_GRAPH_BYTES:
            raise ValueError(
                f"the batches of {len(sizes)} clients ({size / 2**30:.1f} GiB) are too many "
                "for the constants of one graph: use round_dataset or create_tf_dataset_for_client"
            )


@dataclasses.dataclass(frozen=True, eq=False)
class _Batches:
    """The padded batches of one client, one after another in flat arrays.

    Attributes:
      tokens: Tokens of all batches, int32[tokens].
      labels: Labels of all batches, int32[examples].
      table: First token, first label, number of examples and length of each batch,
        int64[batches, 4].
    """

    tokens: np.ndarray
    labels: np.ndarray
    table: np.ndarray


def _listed_dataset(batches: _Batches) -> tf.data.Dataset:
    """Returns a data set that holds the batches as a list of tensors.

    A data set with a mapped function needs some milliseconds before its first element, for each
    client in each round. This one has no function.
    """
    tensors = []
    for token, label, size, width in batches.table.tolist():
        x = batches.tokens[token : token + size * width].reshape(size, width)
        tensors += [tf.constant(x), tf.constant(batches.labels[label : label + size])]
    variant = tf.raw_ops.ListDataset(
        tensors=tensors,
        output_types=[part.dtype for part in _ELEMENT_SPEC.values()],
        output_shapes=[part.shape for part in _ELEMENT_SPEC.values()],
    )
    return tf.data.experimental.from_variant(_set_options(variant), _ELEMENT_SPEC)


@tf.function(input_signature=[tf.TensorSpec([], tf.variant)], autograph=False)
def _set_options(variant: tf.Tensor) -> tf.Tensor:
    """Returns the data set with `_options`. The function is traced only once, to save time."""
    dataset = tf.data.experimental.from_variant(variant, _ELEMENT_SPEC).with_options(_options())
    return tf.data.experimental.to_variant(dataset)


def _mapped_dataset(tokens: tf.Tensor, labels: tf.Tensor, table: tf.Tensor) -> tf.data.Dataset:
    """Returns the data set of the batches in `table`. Shapes are as in `_Batches`."""

    def batch(entry: tf.Tensor) -> "collections.OrderedDict[str, tf.Tensor]":
        first_token, first_label, size, width = tf.unstack(entry, num=4)
        x = tf.slice(tokens, [first_token], [size * width])
        y = tf.slice(labels, [first_label], [size])
        x = tf.reshape(x, tf.stack([size, width]))
        return collections.OrderedDict(x=tf.ensure_shape(x, [None, None]), y=y)

    dataset = tf.data.Dataset.from_tensor_slices(table).map(batch, deterministic=True)
    return dataset.with_options(_options())


def _options() -> tf.data.Options:
    """Returns options with which tf.data starts no threads and does not rewrite the graph.

    Rewriting the graph takes longer than reading the few batches of a client, and the autotune
    thread delays the end of every iterator.
    """
    options = tf.data.Options()
    options.autotune.enabled = False
    options.deterministic = True
    options.experimental_optimization.apply_default_optimizations = False
    return options


def _starts(sizes: list[int]) -> np.ndarray:
    return np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
