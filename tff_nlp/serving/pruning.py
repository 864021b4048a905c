"""Magnitude pruning: the smallest weights of each matrix become zero (Han et al. 2015, section 3).

The weights are not trained again afterwards.
"""

import dataclasses

import numpy as np

from tff_nlp.serving.plain_bert import PlainBert


def prune(bert: PlainBert, fraction: float) -> PlainBert:
    """Returns the classifier with zeros in place of its smallest weights.

    The tables and the matrices of the encoder are pruned, each by itself. Biases, layer norms and
    the head stay: they are few.

    Args:
      bert: The classifier.
      fraction: Share of each matrix that becomes zero, above 0 and below 1.
    """
    tensors = dict(bert.tensors)
    for name in bert.matrices:
        tensors[name] = _pruned(tensors[name], fraction)
    return dataclasses.replace(bert, tensors=tensors)


def _pruned(matrix: np.ndarray, fraction: float) -> np.ndarray:
    sizes = np.abs(matrix).reshape(-1)
    count = int(sizes.size * fraction)
    smallest = np.argpartition(sizes, count)[:count]
    kept = matrix.copy().reshape(-1)
    kept[smallest] = 0
    return kept.reshape(matrix.shape)
