"""The random subsets of a target on disk: `data/subsets/<target>.npz` holds int64 [n_images] under `<n_images>_<seed>`.

The number of images and the seed identify a subset, in tables as in cells. `draw_subsets` draws them.
"""

import hashlib
import io
import zlib
from collections import Counter
from pathlib import Path
from zipfile import BadZipFile, ZipFile

import numpy as np

from stages.lib.datasets import sampling
from stages.lib.errors import RunError
from stages.lib.settings import params
from stages.lib.settings.sections import DrawSubsetsSettings
from stages.lib.store import files

FOLDER = Path("data/subsets")
UNREADABLE = (OSError, ValueError, EOFError, TypeError, RuntimeError, SyntaxError, BadZipFile, zlib.error)
"""What reading a damaged file raises: RuntimeError is zipfile's where a bit says that a part is encrypted or compressed in another way,
SyntaxError is NumPy's for the head of an array."""


def path_of(target: str) -> Path:
    return FOLDER / f"{target}.npz"


def load(target: str) -> dict[str, np.ndarray]:
    """Places of images among the target's training images, int64 [n_images], by the name of the subset.

    Raises:
        RunError: when the file is missing or damaged.
    """
    path, again = path_of(target), f"run `dvc repro draw_subsets@{target}` to make it again"
    try:
        with open(path, "rb") as file:
            drawn, digest = dict(np.load(file)), ZipFile(file).comment
    except FileNotFoundError:
        raise RunError(f"{path}: the file is missing; {again}") from None
    except UNREADABLE as error:
        raise RunError(f"{path}: cannot be read ({' '.join(str(error).split())[:200]}); {again}") from None
    if digest != _digest_of(drawn):
        raise RunError(f"{path}: does not hold the subsets that were drawn; {again}")
    return drawn


def save(target: str, drawn: dict[str, np.ndarray]) -> None:
    """Write subsets as `load` reads them. The archive's comment is a digest of all: a damaged directory may hide some of them."""
    content = io.BytesIO()
    np.savez(content, **drawn)
    with ZipFile(content, "a") as archive:
        archive.comment = _digest_of(drawn)
    files.write_bytes(path_of(target), content.getvalue())


def _digest_of(drawn: dict[str, np.ndarray]) -> bytes:
    of_each = {name: [str(places.dtype), hashlib.sha256(places.tobytes()).hexdigest()] for name, places in drawn.items()}
    return files.digest_of(of_each).encode()


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


def held_out(name: str, places: np.ndarray, y: np.ndarray, share: float) -> np.ndarray:
    """The images of a subset that are left out of training, to choose by: the same share of each class, drawn from the subset's seed.

    One image of each class stays in any case, so that a network that is chosen has learnt of all classes.

    Args:
        name: of the subset; the same images are held out whatever is compared.
        places: int64 [n_images], the subset.
        y: labels of all training images.
        share: of the images, between 0 and 1.

    Raises:
        RunError: where that leaves no image to choose by.
    """
    n_images, seed = size_and_seed_of(name)
    shuffled = np.random.default_rng(seed).permutation(np.sort(places))
    _, first = np.unique(y[shuffled], return_index=True)
    others = np.delete(shuffled, first)
    most = min(round(share * n_images), len(others))
    if not most:
        raise RunError(
            f"{params.PARAMS}: finetune.select.validation is {share:g}, which of {n_images} images of {len(first)} classes leaves none to "
            "choose by; allowed: a larger share, or more images"
        )
    return others[sampling.stratified(y[others], most, seed)]


def names(settings: DrawSubsetsSettings, n_train: int) -> list[str]:
    """Names of the subsets of a target with `n_train` training images, in the order of the settings (Utrera et al. 2021, eq. 6, Table 4).

    The subset `all` has the name of its number of images.
    """
    listed = []
    for n_images in dict.fromkeys(n_train if n == "all" else n for n in settings.n_images):
        n_seeds = params.value_for(n_images, n_images == n_train, "draw_subsets.n_seeds", settings.n_seeds)
        listed += [name_of(n_images, settings.first_seed + settings.seed_step * i) for i in range(n_seeds)]
    return listed
