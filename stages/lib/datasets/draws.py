"""How a subset of a target is drawn: as the two states of the released code of Utrera et al. (2021) draw it."""

import random

import numpy as np

MOST_DRAWS = 100  # whole subsets are drawn at most so often; then single images of the last one are exchanged


def covering(y: np.ndarray, classes: int, n_images: int, seed: int) -> np.ndarray:
    """The subset of the code that made the paper's Table 7: the first images of a shuffle, where each class gets a place.

    Images are taken in the order of Python's `Random(seed).shuffle`. Once as many places are left as classes lack, an image whose
    class is there already is passed over. The indices rise.
    """
    order = list(range(len(y)))
    random.Random(seed).shuffle(order)
    lacking, chosen, labels = set(y.tolist()), [], y.tolist()
    for image in order:
        if n_images - len(chosen) > len(lacking) or labels[image] in lacking:
            chosen.append(image)
            lacking.discard(labels[image])
        if len(chosen) == n_images:
            break
    return np.sort(np.array(chosen, dtype=np.int64))


def choice(y: np.ndarray, classes: int, n_images: int, seed: int) -> np.ndarray:
    """The subset of the authors' last code, `RandomState(seed).choice`, in which classes may be missing.

    Then the same stream draws further subsets until one holds every class, at most MOST_DRAWS; where none does, as for 100 images of
    CIFAR-100, each class that is missing in the last one takes the place of an image whose class is there more than once.
    """
    stream = np.random.RandomState(seed)
    for _ in range(MOST_DRAWS):
        chosen = stream.choice(len(y), n_images, replace=False)
        if len(np.unique(y[chosen])) == classes:
            return chosen
    return exchanged(chosen, y, classes, stream)


def exchanged(chosen: np.ndarray, y: np.ndarray, classes: int, stream: np.random.RandomState) -> np.ndarray:
    """The subset after an exchange: an image of each missing class takes the place of one whose class is there more than once."""
    chosen, counts = chosen.copy(), np.bincount(y[chosen], minlength=classes)
    for missing in np.flatnonzero(counts == 0):
        place = stream.choice(np.flatnonzero(counts[y[chosen]] > 1))
        counts[y[chosen[place]]] -= 1
        chosen[place] = stream.choice(np.flatnonzero(y == missing))
        counts[missing] = 1
    return chosen
