"""The random subsets of a target that are fine-tuned on, the same for every source, so that sources compare in pairs.

Reads data/images/<target>/train_y.npy, params.yaml: draw_subsets. Writes data/subsets/<target>.npz: under
`<n_images>_<seed>` the int64 indices of the training images, [n_images].
"""

from collections.abc import Callable

import numpy as np

from stages.lib import command
from stages.lib.datasets import subsets
from stages.lib.datasets.draws import choice, covering
from stages.lib.datasets.sets import IMAGES, card_of, load
from stages.lib.errors import RunError
from stages.lib.settings import params
from stages.lib.settings.sections import DrawSubsetsSettings
from stages.lib.store.journal import execution


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


if __name__ == "__main__":
    command.run(main, __doc__, "target")
