"""The space that a layer's inputs span, read from the change of a matrix that multiplies them."""

import dataclasses

import numpy as np

# A singular value counts if it is so many times larger than the noise of rounding.
_ABOVE_NOISE = 4.0
# Smallest noise, as a part of the largest singular value.
_LEAST = 1e-7
# Without free dimensions, every vector is in the space.
_LARGEST_SHARE = 0.9


@dataclasses.dataclass(frozen=True, eq=False)
class Span:
    """A space of vectors.

    Attributes:
      basis: Orthonormal columns, float64[width, rank].
    """

    basis: np.ndarray

    @property
    def rank(self) -> int:
        """The dimension of the space."""
        return self.basis.shape[1]

    def distances(self, vectors: np.ndarray) -> np.ndarray:
        """Returns how far vectors are from the space, from 0 to 1 of their own lengths.

        Args:
          vectors: float[..., width].
        """
        vectors = np.asarray(vectors, np.float64)
        rest = vectors - (vectors @ self.basis) @ self.basis.T
        lengths = np.linalg.norm(vectors, axis=-1)
        return np.linalg.norm(rest, axis=-1) / np.maximum(lengths, 1e-30)


def of(change: np.ndarray) -> Span | None:
    """Returns the span of the inputs of a matrix.

    The gradient of a matrix W in y = x W is the sum of x^T (dL/dy) over all inputs x. So its
    columns are in the span of the inputs, and as long as there are fewer inputs than x has numbers,
    the rank is their number (Petrov et al. 2024, "DAGER: Exact Gradient Inversion for Large
    Language Models", section 4.1).

    Args:
      change: The change of the matrix, float[width, columns].

    Returns:
      The span; None if the change is zero, or fills the whole space. If there are more inputs than
      half of the width, it has only the few largest directions, in which no single input lies.
    """
    basis, values, _ = np.linalg.svd(np.asarray(change, np.float64), full_matrices=False)
    if not len(values) or values[0] == 0:
        return None
    # The lower half has only the rounding errors of the weights, if it has anything. A narrow
    # matrix may have no such half.
    noise = values[0] * _LEAST
    if len(values) == len(change):
        noise = max(noise, float(np.median(values[len(values) // 2 :])))
    rank = int((values > _ABOVE_NOISE * noise).sum())
    if rank > _LARGEST_SHARE * len(change):
        return None
    return Span(basis[:, :rank])
