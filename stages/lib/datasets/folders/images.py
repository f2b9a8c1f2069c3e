"""Which images lie in a folder of class folders, and what is wrong with what else lies there, in one line."""

import os
from collections.abc import Iterator
from pathlib import Path

from stages.lib.errors import RunError
from stages.lib.progress import log

SUFFIXES = (".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp")  # of an animation, the first picture


def images_of(root: Path, folder: str) -> dict[str, list[str]]:
    """The images of each class, as paths from the root; the class folders may have folders of their own."""
    classes, others = {}, []
    for place in sorted(path for path in (root / folder).iterdir() if not is_hidden(path.name)):
        if not place.is_dir():
            others.append(str(place))
            continue
        images = []
        for path in below(place):
            (images if Path(path).suffix.lower() in SUFFIXES else others).append(path)
        classes[place.name] = sorted(Path(path).relative_to(root).as_posix() for path in images)
        if not images:
            raise RunError(f"{written(place)}: a class without an image; allowed: one or more of {', '.join(SUFFIXES)}")
        for path in images:
            check(path)
    if len(classes) < 2:
        raise RunError(f"{root / folder}: holds {len(classes)} class folders; allowed: two or more, each with the images of a class")
    if others:
        first = written(Path(min(others)).relative_to(root))
        allowed = f"files in class folders that end in {', '.join(SUFFIXES)}"
        log(f"{root / folder}: left out: {first} and {len(others) - 1} more; allowed: {allowed}")
    return classes


def below(folder: Path | str) -> Iterator[str]:
    """Paths of what lies in a folder and in the folders within it, without hidden things.

    A link to a folder is not followed, and a folder that has the name of an image is not entered: they are among the paths.
    """
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if is_hidden(entry.name):
                    continue
                if entry.is_dir(follow_symlinks=False) and Path(entry.name).suffix.lower() not in SUFFIXES:
                    yield from below(entry.path)
                else:
                    yield entry.path
    except OSError as error:
        raise RunError(f"{written(folder)}: cannot be read: {error.strerror}") from None


def check(path: str) -> None:
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
