"""Influence of training images on test images through the last layer (Koh & Liang 2017): g_test^T H^+ g_train, all at once, in chunks.

To weigh a training image more changes the loss of a test image by minus this score, so that the most helpful image has the largest.
"""

from collections.abc import Iterator, Mapping

from torch import Tensor

from stages.lib.curvature.head import Hessian, Points
from stages.lib.curvature.spectrum import Spectrum

CHUNK = 1 << 26  # bytes of what is computed at once: products with eigenvectors, and scores


def scores(
    hessian: Hessian, spectrum: Spectrum, inverses: Mapping[str, Tensor], train: Points, test: Points
) -> Iterator[tuple[slice, dict[str, Tensor]]]:  # fmt: skip
    """Scores of every training image on some test images after the others.

    The gradients of n images on k eigenvectors cost 2 n size k operations, the scores 2 n_test n_train k; memory is CHUNK and
    8 k (size + n_train) bytes.

    Args:
        inverses: eigenvalues of the inverse [k], by its name.

    Yields:
        places of test images, and their scores by each inverse, float64 [chunk, n_train].
    """
    of_train = projected(hessian, spectrum.vectors, train)
    for places in chunks(len(test.labels), max(of_train.shape)):
        of_test = projected(hessian, spectrum.vectors, some(test, places))
        yield places, {name: (of_test * values) @ of_train.T for name, values in inverses.items()}


def projected(hessian: Hessian, vectors: Tensor, points: Points) -> Tensor:
    """The gradient of each image on each vector, float64 [n, k]; vectors: [size, k]."""
    k = vectors.shape[1]
    by_class = vectors.view(*hessian.shape, k)
    found = points.features.new_empty(len(points.labels), k)
    for places in chunks(len(found), k):
        z, residuals = hessian.coordinates(some(points, places))
        found[places] = sum(residuals[:, [c]] * (z @ vectors_of_class) for c, vectors_of_class in enumerate(by_class))
    return found


def some(points: Points, places: slice) -> Points:
    return Points(points.features[places], points.probabilities[places], points.labels[places])


def chunks(n: int, width: int) -> Iterator[slice]:
    """Parts of n rows of `width` numbers in float64, each of at most CHUNK bytes."""
    rows = max(1, CHUNK // (8 * width))
    return (slice(first, min(first + rows, n)) for first in range(0, n, rows))
