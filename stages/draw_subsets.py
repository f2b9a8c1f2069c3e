"""The random subsets of a target that are fine-tuned on, the same for every source, so that sources compare in pairs.

Reads data/images/<target>/train_y.npy, params.yaml: draw_subsets. Writes data/subsets/<target>.npz: under
`<n_images>_<seed>` the int64 indices of the training images, [n_images].
"""

import random
from collections.abc import Callable

import numpy as np

from stages.lib import command
from stages.lib.datasets import subsets
from stages.lib.datasets.sets import IMAGES, card_of, load
from stages.lib.errors import RunError
from stages.lib.settings import params
from stages.lib.settings.sections import DrawSubsetsSettings
from stages.lib.store.journal import execution

MOST_DRAWS = 100  # whole subsets are drawn at most so often; then single images of the last one are exchanged


def main(target: str) -> None:
    settings = params.section("draw_subsets")
    out = subsets.path_of(target)
    with execution("draw_subsets", target, settings=settings.model_dump(), inputs=[IMAGES / target], outputs=[out]):
        _, y = load(target, "train")
        subsets.save(target, draw_all(y, card_of(target).classes, settings))


def draw_all(y: np.ndarray, classes: int, settings: DrawSubsetsSettings) -> dict[str, np.ndarray]:
    """Every subset of a target with the labels y: indices of training images, by the name of the subset."""
    method = {"choice": choice, "covering": covering}[settings.method]
    return {name: draw(method, y, classes, *subsets.size_and_seed_of(name)) for name in subsets.names(settings, len(y))}


def draw(method: Callable[[np.ndarray, int, int, int], np.ndarray], y: np.ndarray, classes: int, n_images: int, seed: int) -> np.ndarray:
    """Indices of `n_images` training images without replacement, at least one of each class (Utrera et al. 2021, A.3).

    Raises:
        RunError: when `n_images` is smaller than the number of classes, or larger than the number of training images.
    """
    if not classes <= n_images <= len(y):
        raise RunError(f"{params.PARAMS}: draw_subsets.n_images: {n_images}; allowed: {classes} (classes) to {len(y)} (training images)")
    return method(y, classes, n_images, seed)


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


if __name__ == "__main__":
    command.run(main, __doc__, "target")
