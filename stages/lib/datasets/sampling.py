"""Which images stand for a split that is too large to be attacked as a whole: the same ones for all networks and attacks."""

import numpy as np

SEED = 0  # of the draw


def stratified(y: np.ndarray, most: int, seed: int = SEED) -> np.ndarray:
    """Places of images that are drawn from a split, each class in proportion: int64 [min(most, n)], rising.

    Systematic sampling: images stand in line, class by class, in a random order, and every n / most-th of them is taken from a random
    start. So each image is as likely as any other, the number of images of a class is its share of the draw, rounded down or up, and
    of fewer images than there are classes no two are of one class, where all classes are equally large.

    Args:
        y: int64 [n], the labels of the split.
        most: how many are drawn; all of a split that has no more.
    """
    n = len(y)
    if most >= n:
        return np.arange(n)
    random = np.random.default_rng(seed)
    shuffled, places_of_classes = random.permutation(n), random.permutation(int(y.max()) + 1)
    in_line = shuffled[np.argsort(places_of_classes[y[shuffled]], kind="stable")]
    return np.sort(in_line[(np.arange(most) * n + random.integers(n)) // most])
