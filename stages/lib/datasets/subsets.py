"""The random subsets of a target on disk: `data/subsets/<target>.npz` holds int64 [n_images] under `<n_images>_<seed>`.

The number of images and the seed identify a subset, in tables as in cells. `draw_subsets` draws them.
"""

import re
import zlib
from collections import Counter
from pathlib import Path
from zipfile import BadZipFile

import numpy as np

from stages.lib.errors import RunError
from stages.lib.settings import params
from stages.lib.settings.sections import DrawSubsetsSettings

FOLDER = Path("data/subsets")


def path_of(target: str) -> Path:
    return FOLDER / f"{target}.npz"


def load(target: str) -> dict[str, np.ndarray]:
    """Places of images among the target's training images, int64 [n_images], by the name of the subset.

    Raises:
        RunError: when the file is missing or damaged; each of its arrays has a checksum.
    """
    path, again = path_of(target), f"run `dvc repro draw_subsets@{target}` to make it again"
    try:
        with open(path, "rb") as file:
            drawn = dict(np.load(file))
    except FileNotFoundError:
        raise RunError(f"{path}: the file is missing; {again}") from None
    except (OSError, ValueError, EOFError, TypeError, NotImplementedError, SyntaxError, BadZipFile, zlib.error) as error:
        raise RunError(f"{path}: cannot be read ({' '.join(str(error).split())[:200]}); {again}") from None
    for name, places in drawn.items():
        if not re.fullmatch(r"\d+_\d+", name) or places.dtype != np.int64 or places.shape != (size_and_seed_of(name)[0],):
            raise RunError(f"{path}: {name} is no subset; allowed: int64 [n_images] under <n_images>_<seed>; {again}")
    return drawn


def name_of(n_images: int, seed: int) -> str:
    return f"{n_images}_{seed}"


def size_and_seed_of(name: str) -> tuple[int, int]:
    """Number of images, and seed, of the subset of this name."""
    n_images, seed = name.split("_")
    return int(n_images), int(seed)


def of_model(drawn: dict[str, np.ndarray], number: int, count: int) -> dict[str, np.ndarray]:
    """The subsets that one of `count` models of a source learns from: of each size every `count`-th, so that no two models share one."""
    places: Counter[int] = Counter()
    own = {}
    for name, subset in drawn.items():
        n_images, _ = size_and_seed_of(name)
        if places[n_images] % count == number:
            own[name] = subset
        places[n_images] += 1
    return own


def names(settings: DrawSubsetsSettings, n_train: int) -> list[str]:
    """Names of the subsets of a target with `n_train` training images, in the order of the settings (Utrera et al. 2021, eq. 6, Table 4).

    The subset `all` has the name of its number of images.
    """
    listed = []
    for n_images in dict.fromkeys(n_train if n == "all" else n for n in settings.n_images):
        n_seeds = params.value_for(n_images, n_images == n_train, "draw_subsets.n_seeds", settings.n_seeds)
        listed += [name_of(n_images, settings.first_seed + settings.seed_step * i) for i in range(n_seeds)]
    return listed
