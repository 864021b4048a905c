"""What one client computes in one round: some local steps, then the change of its weights.

The update is a pure function of tensors. No variable is created, so that nothing has to be drawn
at random only to be overwritten with the broadcast weights; and the token embedding is trained on
the rows of the client's own tokens alone, because every other row of a client's copy would keep
its value. The result has the dense shape that aggregators expect.
"""

import collections
import dataclasses
import functools
from collections.abc import Callable, Sequence

import tensorflow as tf

from tff_nlp.learning import optimizers
from tff_nlp.learning.example_privacy import (
    Batch,
    ExamplePrivacy,
    Gradients,
    Losses,
    private_gradients,
)
from tff_nlp.models import classifier
from tff_nlp.privacy.canaries import directions


@dataclasses.dataclass(frozen=True)
class LocalTraining:
    """How a client trains.

    Attributes:
      optimizer: The client optimizer.
      proximal_strength: mu of FedProx (Li et al. 2020, equation 2); 0 for none.
      logit_adjustment: tau of `log_prior`; 0 for none.
      example_privacy: Noise and clipping of each example's gradient; None without.
      canaries: Clients of an audit, which send random directions; None without.
    """

    optimizer: optimizers.ClientOptimizer
    proximal_strength: float = 0.0
    logit_adjustment: float = 0.0
    example_privacy: ExamplePrivacy | None = None
    canaries: "Canaries | None" = None


@dataclasses.dataclass(frozen=True)
class Canaries:
    """Clients whose first label is negative: -1 is the first canary, -2 the second.

    Attributes:
      seed: Of `privacy.canaries.directions`.
      norm: L2 norm of what they send; longer than any clipping norm, to show whether there is one.
    """

    seed: tuple[int, int]
    norm: float


def canary_batch(index: int, pad_id: int) -> tuple[list[list[int]], list[int]]:
    """Returns the tokens and labels of the one batch by which a client is known as a canary."""
    return [[pad_id]], [-(index + 1)]


@dataclasses.dataclass(frozen=True)
class LocalVocabulary:
    """The distinct tokens of one client.

    Attributes:
      tokens: int32[distinct], sorted token ids.
      positions: int32[vocabulary], the position in `tokens` of each token that occurs.
    """

    tokens: tf.Tensor
    positions: tf.Tensor


def local_vocabulary(seen: tf.Tensor) -> LocalVocabulary:
    """Numbers the tokens of a client.

    Args:
      seen: bool[vocabulary], whether the client has the token.
    """
    tokens = tf.cast(tf.squeeze(tf.where(seen), axis=1), tf.int32)
    positions = tf.tensor_scatter_nd_update(
        tf.zeros(tf.shape(seen), tf.int32), tokens[:, tf.newaxis], tf.range(tf.size(tokens))
    )
    return LocalVocabulary(tokens, positions)


@dataclasses.dataclass(frozen=True)
class _Batches:
    """A client's batches, held as the ids that they are, in TensorFlow's variant lists."""

    inputs: tf.Tensor
    labels: tf.Tensor
    count: tf.Tensor
    label_counts: tf.Tensor
    lowest_label: tf.Tensor
    seen: tf.Tensor
    fingerprint: tf.Tensor
    noise_key: tf.Tensor

    def read(self, step: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Returns int32[batch, length] token ids and int32[batch] labels."""
        tokens, labels = (
            tf.raw_ops.TensorListGetItem(
                input_handle=handle, index=step, element_shape=shape, element_dtype=tf.int32
            )
            for handle, shape in ((self.inputs, [-1, -1]), (self.labels, [-1]))
        )
        return tf.ensure_shape(tokens, [None, None]), tf.ensure_shape(labels, [None])


@tf.function
def _collect(
    dataset: tf.data.Dataset, vocabulary_size: int, num_labels: int
) -> tuple[tf.Tensor, ...]:
    """Reads the data set once, since a shuffling one would differ when read again."""
    # Vectors for shapes: TensorFlow refuses to copy a graph whose shape is the scalar -1 when it
    # happens to visit the operation before the constant.
    inputs, labels = (
        tf.raw_ops.EmptyTensorList(element_shape=shape, max_num_elements=-1, element_dtype=tf.int32)
        for shape in ([-1, -1], [-1])
    )
    count, lowest, fingerprint = (tf.zeros([], tf.int32) for _ in range(3))
    label_counts = tf.zeros([num_labels], tf.int32)
    seen = tf.zeros([vocabulary_size], tf.bool)
    # The same in each batch; all zeros, which no noise accepts, where the data bring none.
    noise_key = tf.zeros([8], tf.uint32)
    for batch in iter(dataset):
        if "noise_key" in batch:
            noise_key = batch["noise_key"]
        inputs = tf.raw_ops.TensorListPushBack(input_handle=inputs, tensor=batch["x"])
        labels = tf.raw_ops.TensorListPushBack(input_handle=labels, tensor=batch["y"])
        tokens = tf.reshape(batch["x"], [-1, 1])
        seen = tf.tensor_scatter_nd_update(seen, tokens, tf.fill([tf.size(tokens)], True))
        # Tells clients apart for their dropout; int32 wraps around, which is what a hash does.
        fingerprint = fingerprint * 31 + tf.reduce_sum(tokens) * 7 + tf.reduce_sum(batch["y"])
        # A canary's label is negative and counts nowhere.
        label_counts += tf.reduce_sum(tf.one_hot(batch["y"], num_labels, dtype=tf.int32), axis=0)
        lowest = tf.minimum(lowest, tf.reduce_min(batch["y"]))
        count += 1
    return inputs, labels, count, label_counts, lowest, seen, fingerprint, noise_key


def log_prior(label_counts: tf.Tensor) -> tf.Tensor:
    """Returns the logarithm of a client's label frequencies, with one more of each label.

    Added to the logits in training it takes over what the frequencies explain, so that a client
    with nearly one label does not teach the model that this label is frequent (logit adjustment,
    Menon et al. 2021, equation 10, with each client's own frequencies as in Zhang et al. 2022,
    "Federated Learning with Label Distribution Skew via Logits Calibration").

    Args:
      label_counts: int32[labels], over all local epochs.
    """
    counts = tf.cast(label_counts + 1, tf.float32)
    return tf.math.log(counts / tf.reduce_sum(counts))


def build_client_update(
    model: classifier.Classifier,
    training: LocalTraining,
) -> Callable[..., tuple[tuple[tf.Tensor, ...], dict[str, tf.Tensor], tf.Tensor]]:
    """Builds the client update.

    Args:
      model: The classifier, for its pure function and the shapes of its weights.
      training: How the client trains.

    Returns:
      A function, to be traced into a graph, of (trainable weights, frozen weights, data set,
      learning rate, int32[2] round seed). It returns the update, initial minus final weights as
      TFF has it, in the shapes of the trainable weights, and the client's sums: "num_examples"
      and "num_batches" (int64), "num_correct" and "loss_sum" (float32, over examples and steps),
      "update_norm_squared", and "non_finite" (1.0 where loss or update overflowed: the update is
      then zero); and uint32[8], the key that the data bring for noise of the client.
    """
    # With example-level privacy all rows of the embedding get noise: where there is none would tell
    # which words a client has.
    embedding = None if training.example_privacy else model.token_embedding
    privacy = training.example_privacy

    def client_update(
        trainable: tuple[tf.Tensor, ...],
        frozen: tuple[tf.Tensor, ...],
        dataset: tf.data.Dataset,
        learning_rate: tf.Tensor,
        round_seed: tf.Tensor,
    ) -> tuple[tuple[tf.Tensor, ...], dict[str, tf.Tensor], tf.Tensor]:
        batches = _Batches(*_collect(dataset, len(model.tokenizer.vocabulary), model.num_labels))
        if training.canaries is None:
            deltas, sums = train(trainable, frozen, batches, learning_rate, round_seed)
        else:
            deltas, sums = tf.cond(
                batches.lowest_label < 0,
                lambda: _canary_update(training.canaries, batches, trainable),
                lambda: train(trainable, frozen, batches, learning_rate, round_seed),
            )
        return deltas, sums, batches.noise_key

    def train(
        trainable: tuple[tf.Tensor, ...],
        frozen: tuple[tf.Tensor, ...],
        batches: _Batches,
        learning_rate: tf.Tensor,
        round_seed: tf.Tensor,
    ) -> tuple[tuple[tf.Tensor, ...], dict[str, tf.Tensor]]:
        seed = tf.random.experimental.stateless_fold_in(round_seed, batches.fingerprint)
        initial = list(trainable)
        vocabulary = None
        if embedding is not None:
            vocabulary = local_vocabulary(batches.seen)
            initial[embedding] = tf.gather(trainable[embedding], vocabulary.tokens)

        losses_of = functools.partial(_example_losses, model, frozen)
        if training.logit_adjustment:
            prior = log_prior(batches.label_counts)
            losses_of = functools.partial(losses_of, offset=training.logit_adjustment * prior)

        def gradients(weights: Sequence[tf.Tensor], step: tf.Tensor) -> Gradients:
            tokens, labels = batches.read(step)
            ids = tokens if vocabulary is None else tf.gather(vocabulary.positions, tokens)
            batch = Batch(ids, tf.not_equal(tokens, model.tokenizer.pad_id), labels)
            if privacy is None:
                step_seed = tf.random.experimental.stateless_fold_in(seed, step)
                return _batch_gradients(losses_of, weights, batch, step_seed)
            return private_gradients(
                losses_of, weights, batch, key=batches.noise_key, step=step, privacy=privacy
            )

        final, sums = _train(model, training, initial, gradients, batches.count, learning_rate)
        deltas = [w0 - w for w0, w in zip(initial, final, strict=True)]
        deltas, metrics = _close(deltas, sums, batches)
        if embedding is not None and vocabulary is not None:
            deltas[embedding] = tf.scatter_nd(
                vocabulary.tokens[:, tf.newaxis], deltas[embedding], trainable[embedding].shape
            )
        return tuple(deltas), metrics

    return client_update


def _canary_update(
    canaries: Canaries, batches: _Batches, trainable: tuple[tf.Tensor, ...]
) -> tuple[tuple[tf.Tensor, ...], dict[str, tf.Tensor]]:
    """Returns what a canary sends: a random direction, and sums of nothing."""
    parts = directions(canaries.seed, -batches.lowest_label - 1, [w.shape for w in trainable])
    factor = canaries.norm / tf.linalg.global_norm(parts)
    nothing = tf.zeros([])
    return tuple(factor * part for part in parts), collections.OrderedDict(
        loss_sum=nothing,
        non_finite=nothing,
        num_batches=tf.zeros([], tf.int64),
        num_correct=nothing,
        num_examples=tf.zeros([], tf.int64),
        update_norm_squared=nothing,
    )


def _example_losses(
    model: classifier.Classifier,
    frozen: Sequence[tf.Tensor],
    weights: Sequence[tf.Tensor],
    batch: Batch,
    seed: tf.Tensor,
    offset: tf.Tensor | None = None,
) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns float32[batch] losses and float32, how many predictions are right.

    The offset, float32[labels], is added to the logits of the losses only.
    """
    logits = model.logits(list(weights), frozen, batch.ids, batch.mask, seed=seed)
    shifted = logits if offset is None else logits + offset
    losses = tf.nn.sparse_softmax_cross_entropy_with_logits(batch.labels, shifted)
    correct = tf.equal(tf.argmax(logits, axis=1, output_type=tf.int32), batch.labels)
    return losses, tf.reduce_sum(tf.cast(correct, tf.float32))


def _batch_gradients(
    losses_of: Losses, weights: Sequence[tf.Tensor], batch: Batch, seed: tf.Tensor
) -> Gradients:
    """Returns the gradient of a batch's mean loss."""
    with tf.GradientTape(watch_accessed_variables=False) as tape:
        tape.watch(weights)
        losses, correct = losses_of(weights, batch, seed)
        loss = tf.reduce_mean(losses)
    gradients = tape.gradient(loss, weights, unconnected_gradients=tf.UnconnectedGradients.ZERO)
    return [tf.convert_to_tensor(g) for g in gradients], tf.reduce_sum(losses), correct


def _train(
    model: classifier.Classifier,
    training: LocalTraining,
    initial: Sequence[tf.Tensor],
    gradients_of: Callable[[Sequence[tf.Tensor], tf.Tensor], Gradients],
    count: tf.Tensor,
    learning_rate: tf.Tensor,
) -> tuple[Sequence[tf.Tensor], tuple[tf.Tensor, tf.Tensor]]:
    """Returns the weights after all steps, and the sums of losses and of right predictions."""
    decayed = [is_decayed(name) for name in model.trainable_names]

    def body(step: tf.Tensor, weights: tuple, state: tuple, sums: tuple) -> tuple:
        gradients, loss, correct = gradients_of(weights, step)
        if training.proximal_strength:
            gradients = [
                g + training.proximal_strength * (w - w0)
                for g, w, w0 in zip(gradients, weights, initial, strict=True)
            ]
        state, weights = training.optimizer.step(state, weights, gradients, learning_rate, decayed)
        return step + 1, weights, state, (sums[0] + loss, sums[1] + correct)

    start = (
        tf.zeros([], tf.int32),
        tuple(initial),
        training.optimizer.initial_state(initial),
        (tf.zeros([]), tf.zeros([])),
    )
    _, final, _, sums = tf.while_loop(
        lambda step, *_: step < count,
        body,
        start,
        shape_invariants=tf.nest.map_structure(lambda t: t.shape, start),
        parallel_iterations=1,
    )
    return final, sums


def _close(
    deltas: list[tf.Tensor], sums: tuple[tf.Tensor, tf.Tensor], batches: _Batches
) -> tuple[list[tf.Tensor], dict[str, tf.Tensor]]:
    """Returns the update, zero where it is not finite, and the client's sums."""
    loss_sum, correct = sums
    norm_squared = tf.add_n([tf.reduce_sum(tf.square(d)) for d in deltas])
    finite = tf.math.is_finite(norm_squared) & tf.math.is_finite(loss_sum)
    deltas = tf.cond(finite, lambda: deltas, lambda: [tf.zeros_like(d) for d in deltas])
    keep = tf.cast(finite, tf.float32)
    return deltas, collections.OrderedDict(
        loss_sum=tf.where(finite, loss_sum, 0.0),
        non_finite=1.0 - keep,
        num_batches=tf.cast(batches.count, tf.int64),
        num_correct=keep * correct,
        num_examples=tf.where(finite, tf.cast(tf.reduce_sum(batches.label_counts), tf.int64), 0),
        update_norm_squared=tf.where(finite, norm_squared, 0.0),
    )


def is_decayed(name: str) -> bool:
    """Whether weight decay applies to the weight: kernels and embeddings, as BERT was trained."""
    last = name.rsplit("/", maxsplit=1)[-1]
    return not (last.startswith("bias") or last in ("gamma", "beta"))
