"""Random divisions of the images that decide into those that a run learns from and those that it is tested on, the same for all sources."""

from dataclasses import dataclass

import numpy as np

from stages.lib.datasets import sampling, subsets
from stages.lib.errors import RunError
from stages.lib.report.intervals import resampled

FIRST_SEED = 30_000_000  # apart from the seeds of params.yaml
SHARE, MOST_TESTED = 1 / 3, 500  # of the images that decide, how many a run is tested on; fewer where more are to be learnt from ...
LEAST_SHARE, LEAST_TESTED, PER_CLASS = 0.2, 20, 2  # ... but at least so many, of these for each class


@dataclass(frozen=True)
class Draws:
    """How runs on so many labels are drawn from the images that decide.

    Attributes:
        y: int64 [n], labels of the images that decide.
    """

    y: np.ndarray
    n_labels: int
    n_tested: int

    @property
    def share(self) -> float:
        """What two draws share, as intervals need it."""
        return resampled.shared(self.n_tested, len(self.y))

    def name(self, seed: int) -> str:
        return subsets.name_of(self.n_labels + self.n_tested, seed)

    def draw(self, seed: int) -> tuple[np.ndarray, np.ndarray]:
        """Places of the images that the run of a seed learns from, with at least one of each class, and of those that it is tested on."""
        learnt = drawn(self.y, self.n_labels, seed)
        rest = np.setdiff1d(np.arange(len(self.y)), learnt)
        return learnt, rest[sampling.stratified(self.y[rest], self.n_tested, seed)]


def seeds(count: int, first: int = 0) -> list[int]:
    return [FIRST_SEED + i for i in range(first, first + count)]


def drawn(y: np.ndarray, n: int, seed: int) -> np.ndarray:
    """Places of n images, rising, with at least one of each class and otherwise each class in proportion."""
    shuffled = np.random.default_rng(seed).permutation(len(y))
    _, first = np.unique(y[shuffled], return_index=True)
    others = np.delete(shuffled, first)
    more = others[sampling.stratified(y[others], n - len(first), seed)] if n > len(first) else others[:0]
    return np.sort(np.concatenate([shuffled[first], more]))


def plan(y: np.ndarray, n_labels: int | None, default: int) -> Draws:
    """The draws of runs on `n_labels` of the images with the labels y; without a number on the default, or as many as there can be.

    Raises:
        RunError: where that many cannot be learnt from.
    """
    classes = int(y.max()) + 1
    least = min(max(round(LEAST_SHARE * len(y)), LEAST_TESTED, PER_CLASS * classes), len(y) // 2)
    most = len(y) - least
    n = min(default, most) if n_labels is None else n_labels
    if not classes <= n <= most:
        raise RunError(
            f"--labels is {n}; allowed: {classes} (the classes) to {most}: of the {len(y)} images that are not kept for the final figure, "
            f"at least {least} at a time are decided by"
        )
    return Draws(y, n, min(len(y) - n, max(least, round(SHARE * len(y))), MOST_TESTED))
