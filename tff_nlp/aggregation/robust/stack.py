"""The updates of all clients of a round, as stacked tensors, and distances between them."""

from collections.abc import Sequence

import tensorflow as tf

# One tensor for each weight, float32[clients, ...]. There is one client at least.
Stack = Sequence[tf.Tensor]
# One tensor for each weight, without the axis of clients.
Update = tuple[tf.Tensor, ...]


def clients(stack: Stack) -> tf.Tensor:
    """Returns the number of clients, int32."""
    return tf.shape(stack[0])[0]


def mean(stack: Stack) -> Update:
    """Returns the mean over the clients."""
    return tuple(tf.reduce_mean(part, axis=0) for part in stack)


def take(stack: Stack, rows: tf.Tensor) -> Stack:
    """Returns the updates of some clients.

    Args:
      stack: The updates.
      rows: int32[m], the rows of these clients.
    """
    return tuple(tf.gather(part, rows) for part in stack)


def squared_distances_to(stack: Stack, center: Update) -> tf.Tensor:
    """Returns the squared Euclidean distance of each update to a point, float32[clients]."""
    return tf.add_n(
        [_sums_of_rows(tf.square(part - at)) for part, at in zip(stack, center, strict=True)]
    )


def squared_distances(stack: Stack) -> tf.Tensor:
    """Returns the squared Euclidean distances between updates, float32[clients, clients].

    They are sums of squared differences. The cheaper |x|^2 + |y|^2 - 2 x y would lose the small
    distances between honest updates beside a huge one.
    """

    def row(number: tf.Tensor) -> tf.Tensor:
        return squared_distances_to(stack, tuple(part[number] for part in stack))

    return tf.map_fn(row, tf.range(clients(stack)), fn_output_signature=tf.float32)


def _sums_of_rows(part: tf.Tensor) -> tf.Tensor:
    return tf.reduce_sum(tf.reshape(part, [tf.shape(part)[0], -1]), axis=1)
