"""The images that a folder holds: which, in what order, of which class, and in which split; what is wrong with them is one line."""

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from stages.lib.datasets.sets import stratified_split
from stages.lib.errors import RunError
from stages.lib.progress import log

if TYPE_CHECKING:
    from stages.lib.datasets.kinds.folder import Folder

PAIR = re.compile(r"(?:^|_)([a-z]+)[0-9]*-([a-z]+)[0-9]*$")  # categories of shape and texture in a file's name, without its suffix
SUFFIXES = (".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp")  # of an animation, the first picture


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


def images_of(root: Path, folder: str) -> dict[str, list[str]]:
    """The images of each class, as paths from the root; the class folders may have folders of their own."""
    classes, others = {}, []
    for place in sorted(path for path in (root / folder).iterdir() if not is_hidden(path.name)):
        if not place.is_dir():
            others.append(str(place))
            continue
        images = []
        for path in _below(place):
            (images if Path(path).suffix.lower() in SUFFIXES else others).append(path)
        classes[place.name] = sorted(Path(path).relative_to(root).as_posix() for path in images)
        if not images:
            raise RunError(f"{written(place)}: a class without an image; allowed: one or more of {', '.join(SUFFIXES)}")
        for path in images:
            _check(path)
    if len(classes) < 2:
        raise RunError(f"{root / folder}: holds {len(classes)} class folders; allowed: two or more, each with the images of a class")
    if others:
        first = written(Path(min(others)).relative_to(root))
        allowed = f"files in class folders that end in {', '.join(SUFFIXES)}"
        log(f"{root / folder}: left out: {first} and {len(others) - 1} more; allowed: {allowed}")
    return classes


def _below(folder: Path | str) -> Iterator[str]:
    """Paths of what lies in a folder and in the folders within it, without hidden things.

    A link to a folder is not followed, and a folder that has the name of an image is not entered: they are among the paths.
    """
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if is_hidden(entry.name):
                    continue
                if entry.is_dir(follow_symlinks=False) and Path(entry.name).suffix.lower() not in SUFFIXES:
                    yield from _below(entry.path)
                else:
                    yield entry.path
    except OSError as error:
        raise RunError(f"{written(folder)}: cannot be read: {error.strerror}") from None


def _check(path: str) -> None:
    """Raises RunError where what has the name of an image is no file, or has a name that a manifest cannot hold."""
    if not os.path.isfile(path):  # of a FIFO, reading would never end
        kinds = {"a folder": os.path.isdir, "a FIFO, socket or device": os.path.exists, "a link to nothing": os.path.islink}
        kind = next((kind for kind, is_so in kinds.items() if is_so(path)), "gone")
        raise RunError(f"{written(path)}: has the name of an image and is {kind}; allowed: files. Rename or remove it")
    if written(path) != path:
        raise RunError(f"{written(path)}: its name is not UTF-8, or holds a line break; rename it")


def written(path: Path | str) -> str:
    """The path as one line of text: bytes that are no UTF-8, and line breaks, as escapes."""
    return os.fsencode(path).decode(errors="backslashreplace").replace("\n", "\\n").replace("\r", "\\r")


def is_hidden(name: str) -> bool:
    """Whether a file or folder is none of the user's images: of a version control system, of a desktop, or of an archive of macOS."""
    return name.startswith(".") or name == "__MACOSX"


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
    images = sorted(path for path in _below(root) if Path(path).suffix.lower() in SUFFIXES)
    for path in images:
        _check(path)
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
