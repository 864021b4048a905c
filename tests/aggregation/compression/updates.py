"""Random updates, and what comes back from a codec."""

import numpy as np
import tensorflow as tf

from tff_nlp.aggregation.compression import coding

SHAPES = ((30, 40), (40,), (6, 4, 5), ())
SIZE = 1200 + 40 + 120 + 1


def update(seed=0, shapes=SHAPES):
    generator = np.random.default_rng(seed)
    return tuple(np.float32(generator.standard_normal(shape)) for shape in shapes)


def back(codec, tensors, seed=0):
    """Returns what the server reads, compiled as in a round."""
    coded = coding.Coding(codec, seed)
    read = tf.function(lambda *parts: coded.decode(coded.encode(parts)))
    return [part.numpy() for part in read(*map(tf.constant, tensors))]


def sent_bytes(codec, tensors):
    encoded = coding.Coding(codec, 0).encode(tensors)
    return sum(np.asarray(part).nbytes for part in tf.nest.flatten(encoded))


def joined(tensors):
    return np.concatenate([np.ravel(part) for part in tensors])
