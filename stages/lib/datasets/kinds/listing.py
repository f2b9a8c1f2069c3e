"""The images that a folder holds: which, in what order, of which class, and in which split; what is wrong with them is one line."""

import re
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from stages.lib.datasets.folders.images import SUFFIXES, below, check, images_of, written
from stages.lib.datasets.sets import stratified_split
from stages.lib.errors import RunError
from stages.lib.progress import log

if TYPE_CHECKING:
    from stages.lib.datasets.kinds.folder import Folder

PAIR = re.compile(r"(?:^|_)([a-z]+)[0-9]*-([a-z]+)[0-9]*$")  # categories of shape and texture in a file's name, without its suffix


class Listed(NamedTuple):
    """The images of one split, class after class in the order of their names."""

    paths: list[str]  # from the root
    y: np.ndarray  # int64 [n]


def find(name: str, root: Path, entry: "Folder") -> dict[str, Listed]:
    """The images of each split; none of an optional set, or of an optional split, that is not there.

    Raises:
        RunError: for a folder without classes, a class without images, other classes in `test` than in `train`, and a folder that is
            divided and is to be divided.
    """
    if not root.is_dir():
        published = f"its images are no longer published ({entry.gone}); " if entry.gone else ""
        return _absent(f"{root}: no such folder; {published}put the images of {name} there, or correct {name}.path", name, entry)
    if entry.test_fraction is not None:
        if all((root / folder).is_dir() for folder in entry.splits.values()):
            folders = " and ".join(entry.splits.values())
            raise RunError(f"{root}: is divided already, into {folders}; remove {name}.test_fraction, which would take them for classes")
        return _split(root, entry, images_of(root, ""))
    classes = {}
    for split, folder in entry.splits.items():
        if (root / folder).is_dir():
            classes[split] = images_of(root, f"{folder}/")
        else:
            there = ", ".join(sorted(path.name for path in root.iterdir())[:8]) or "nothing"
            _absent(f"{root}: holds no folder {folder!r} for the {split} split, but {there}; correct {name}.splits", name, entry)
    names = [sorted(paths) for paths in classes.values()]
    if len(names) == 2 and names[0] != names[1]:
        differing = ", ".join(sorted(set(names[0]) ^ set(names[1]))[:8])
        raise RunError(f"{root}: the splits have different classes ({differing} are in one of them alone); they must have the same")
    return {split: _listed(paths) for split, paths in classes.items()}


def _absent(problem: str, name: str, entry: "Folder") -> dict[str, Listed]:
    """No images of an optional set, which is said; raises RunError with the problem for any other."""
    if not entry.optional:
        raise RunError(problem)
    log(f"{name}: left out, as it is optional: {problem}. When it is there: {again(name)}")
    return {}


def again(name: str) -> str:
    """The command that lists the images of a folder anew."""
    return f"`dvc repro --force --single-item download@{name}`"


def _listed(classes: dict[str, list[str]]) -> Listed:
    counts = [len(paths) for paths in classes.values()]
    return Listed([path for paths in classes.values() for path in paths], np.repeat(np.arange(len(counts)), counts))


def _split(root: Path, entry: "Folder", classes: dict[str, list[str]]) -> dict[str, Listed]:
    """Training and test images, each class in proportion."""
    paths, y = _listed(classes)
    try:
        rows_of = stratified_split(y, len(y) - round(len(y) * entry.test_fraction), entry.split_seed)
    except ValueError as error:
        raise RunError(f"{root}: {len(y)} images of {len(classes)} classes cannot be split by test_fraction ({error})") from None
    return {split: Listed([paths[i] for i in rows], y[rows]) for split, rows in zip(("train", "test"), rows_of, strict=True)}


def find_pairs(name: str, root: Path, entry: "Folder") -> dict[str, Listed]:
    """The images whose shape and texture are of two categories, in the order of their paths; none of an optional set that is not there.

    `airplane1-bicycle2.png` has the shape of airplane 1 and the texture of bicycle 2 (Geirhos et al. 2019). Images may lie in any folders.
    Those of one category alone, 80 of the published 1,280, are left out.

    Raises:
        RunError: names a file whose name says no categories, or others than the entry, or the root where no image is of two.
    """
    if not root.is_dir():
        return _absent(f"{root}: no such folder; put the images of {name} there, or correct {name}.path", name, entry)
    images = sorted(path for path in below(root) if Path(path).suffix.lower() in SUFFIXES)
    for path in images:
        check(path)
    pairs = {Path(path).relative_to(root).as_posix(): categories_of(path) for path in images}
    kept = [path for path, (shape, texture) in pairs.items() if shape != texture]
    if len(kept) < len(pairs):
        log(f"{name}: {len(pairs) - len(kept)} images of {len(pairs)} are left out, as shape and texture are of one category")
    categories = entry.class_names or sorted({category for path in kept for category in pairs[path]})
    if strange := next((path for path in kept if not set(pairs[path]) <= set(categories)), None):
        raise RunError(f"{root / strange}: its name says {' and '.join(pairs[strange])}; allowed: {', '.join(categories)}")
    if not kept:
        raise RunError(f"{root}: holds no image whose shape is of one category and whose texture is of another; allowed: one or more")
    return {"test": Listed(kept, np.array([[categories.index(category) for category in pairs[path]] for path in kept]))}


def categories_of(path: str) -> tuple[str, str]:
    """The categories of shape and of texture that the name of a file says; raises RunError where it says none."""
    found = PAIR.search(Path(path).stem.lower())
    if found is None:
        allowed = "<shape><number>-<texture><number>, such as airplane1-bicycle2.png"
        raise RunError(f"{written(path)}: its name does not say the categories of shape and texture; allowed: {allowed}")
    return found[1], found[2]
