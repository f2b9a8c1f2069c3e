"""What a folder of class folders holds: the images that can be used, and in one line each what was left out and why.

An image is looked at once: it has to be readable, and no picture is used twice, as a copy on both sides of a division would make what is
measured look better than it is.
"""

import hashlib
from collections import defaultdict
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image

from stages.lib.datasets import sampling
from stages.lib.datasets.folders.images import images_of, written
from stages.lib.datasets.pictures import Pictures
from stages.lib.errors import RunError
from stages.lib.progress import bar
from stages.lib.report.wording import counted
from stages.lib.store import files

MOST = 3000  # images that are used; of a larger folder as many are drawn, each class in proportion
LEAST = 6  # images of a class: some to learn from, some to decide by, and some that no decision sees
SMALL = 20  # images that a class of a larger folder keeps, where it has them
SIDE = 32  # pixels a side at which two pictures are compared
SHOWN = 3  # files that a line names
SPLITS = {"train", "test", "val", "valid", "validation"}  # folders of these names are no classes


@dataclass(frozen=True)
class Census:
    """The images that are used, in the order of their classes and names."""

    root: Path
    classes: list[str]
    paths: list[str]  # from the root
    y: np.ndarray  # int64 [n]
    sha256: list[str]  # of each file
    n_found: int  # files with the name of an image
    notes: list[str] = field(default_factory=list)  # what was left out and why, and what was changed

    @property
    def digest(self) -> str:
        """The hash of all that is used: a folder that was copied elsewhere has the same."""
        return files.digest_of([self.classes, self.y.tolist(), self.sha256])


@dataclass(frozen=True)
class Seen:
    """One file: what is known of it after a look."""

    problem: str = ""
    sha256: str = ""
    pixels: str = ""  # hash of the picture, small
    transparent: bool = False


def take(root: Path, most: int = MOST) -> Census:
    """Look at a folder of class folders.

    Raises:
        RunError: where it is no such folder, or a class has fewer than LEAST images that can be used.
    """
    if not root.is_dir():
        raise RunError(f"{root}: no such folder; allowed: a folder with a folder of images for each class")
    found = images_of(root, "")
    if len(SPLITS & {name.lower() for name in found}) > 1:
        raise RunError(f"{root}: is divided already, into {', '.join(found)}; allowed: one folder for each class, all images of it within")
    names, paths = sorted(found), [path for name in sorted(found) for path in found[name]]
    y = np.repeat(np.arange(len(names)), [len(found[name]) for name in names])
    n_found, notes = len(paths), []
    if len(paths) > most:
        drawn = _drawn(y, most)
        notes.append(f"of {len(paths):,} images {len(drawn):,} were drawn, each class in proportion; --most takes more")
        paths, y = [paths[i] for i in drawn], y[drawn]
    seen = list(_looks(root, paths))
    kept = _kept(paths, y, names, seen, notes)
    census = Census(root, names, [paths[i] for i in kept], y[kept], [seen[i].sha256 for i in kept], n_found, notes)
    counts = np.bincount(census.y, minlength=len(names))
    if few := [f"{names[i]} has {counted(int(counts[i]), 'image')}" for i in np.flatnonzero(counts < LEAST)]:
        why = f" ({'; '.join(notes)})" if notes else ""
        raise RunError(
            f"{root}: {', '.join(few)} that can be used{why}; allowed: {LEAST} or more of each class. Add some, or remove the folder"
        )
    return census


def _drawn(y: np.ndarray, most: int) -> np.ndarray:
    """Places of the images that are used of a large folder, rising: each class in proportion, and of each SMALL at least, or all."""
    chosen = np.zeros(len(y), bool)
    chosen[sampling.stratified(y, most)] = True
    shuffled = np.random.default_rng(sampling.SEED).permutation(len(y))
    for label in np.flatnonzero(np.bincount(y[chosen], minlength=int(y.max()) + 1) < SMALL):
        chosen[y == label] = False
        chosen[shuffled[y[shuffled] == label][:SMALL]] = True
    return np.flatnonzero(chosen)


def _looks(root: Path, paths: list[str]) -> Iterator[Seen]:
    small = Pictures(root, paths, SIDE, 1.0, 3, None)

    def look(path: str) -> Seen:
        try:
            pixels = small.decoded(path)
            with Image.open(root / path) as image:
                transparent = image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info
            sha256 = hashlib.sha256((root / path).read_bytes()).hexdigest()
        except (RunError, OSError) as error:
            return Seen(problem=str(error).removeprefix(f"{root}/{path}: "))
        return Seen("", sha256, hashlib.sha256(pixels.tobytes()).hexdigest(), transparent)

    with ThreadPoolExecutor() as pool, bar(title="looking at the images", total=len(paths), unit="image") as progress:
        for seen in pool.map(look, paths):
            progress.update()
            yield seen


def _kept(paths: list[str], y: np.ndarray, names: list[str], seen: list[Seen], notes: list[str]) -> np.ndarray:
    """Places of the images that are used, int64; what is left out is noted."""
    unreadable = [i for i, one in enumerate(seen) if one.problem]
    by_cause = defaultdict(list)
    for i in unreadable:
        by_cause[seen[i].problem.split("; replace")[0]].append(paths[i])
    for cause, of_cause in by_cause.items():
        notes.append(f"{counted(len(of_cause), 'file')} left out: {cause}: {_some(of_cause)}")
    pictures = defaultdict(list)
    for i, one in enumerate(seen):
        if not one.problem:
            pictures[one.pixels].append(i)
    again = [i for same in pictures.values() if len(set(y[same])) == 1 for i in same[1:]]
    torn = [i for same in pictures.values() if len(set(y[same])) > 1 for i in same]
    if again:
        notes.append(f"{counted(len(again), 'copy', 'copies')} of a picture left out: {_some([paths[i] for i in again])}")
    if torn:
        of = ", ".join(sorted({names[k] for k in y[torn]}))
        notes.append(
            f"{counted(len(torn), 'file')} left out, as the same picture is in several classes ({of}): {_some([paths[i] for i in torn])}"
        )
    kept = np.setdiff1d(np.arange(len(paths)), unreadable + again + torn)
    if transparent := [paths[i] for i in kept if seen[i].transparent]:
        notes.append(f"{counted(len(transparent), 'image')} with transparency: the colour beneath is what is seen: {_some(transparent)}")
    return kept


def _some(paths: list[str]) -> str:
    more = f" and {len(paths) - SHOWN} more" if len(paths) > SHOWN else ""
    return ", ".join(map(written, paths[:SHOWN])) + more
