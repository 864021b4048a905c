"""Weights rounded to 8 bits, with a scale for each row."""

import numpy as np


def round_rows(matrix: np.ndarray, most: int = 127) -> tuple[np.ndarray, np.ndarray]:
    """Returns 8-bit numbers and scales such that numbers * scales is close to the matrix.

    Zeros stay zeros.

    Args:
      matrix: float32[rows, columns].
      most: Largest absolute value of a number, at most 127.

    Returns:
      int8[rows, columns] and float32[rows, 1].
    """
    largest = np.abs(matrix).max(axis=1, keepdims=True)
    scales = np.where(largest > 0, largest / most, 1).astype(np.float32)
    return np.rint(matrix / scales).astype(np.int8), scales
