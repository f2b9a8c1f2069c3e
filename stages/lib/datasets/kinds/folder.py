"""Images in sub-folders that are named after their classes, or whose own names say two classes: on this machine, or in archives (tar, zip).

A folder on this machine stays where it is: `download` lists its images with their hashes in a manifest, so that what it holds
has a version.
"""

import csv
import hashlib
import io
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
from pydantic import Field, model_validator

from stages.lib.datasets.folders.images import is_hidden
from stages.lib.datasets.kinds.base import Dataset, Split, bring_files
from stages.lib.datasets.kinds.listing import Listed, again, categories_of, find, find_pairs
from stages.lib.datasets.pictures import Pictures
from stages.lib.datasets.sets import RAW
from stages.lib.errors import RunError
from stages.lib.fetching import archives
from stages.lib.progress import bar
from stages.lib.settings.catalog import File, Labels
from stages.lib.settings.fields import Count, Real, Seed
from stages.lib.settings.sections import DownloadSettings
from stages.lib.store import cells, files

MANIFEST = "manifest.csv"
BLOCK = 256  # images that are read side by side


class Folder(Dataset):
    """The settings of such a set, and how it is brought, read and counted.

    Counts may be left out: they are those of the images that are there. With `test_fraction` the class folders lie in the folder
    itself, and a stratified part of them is the test split.
    """

    kind: Literal["folder"]
    path: str | None = None  # of the folder; relative to the repository
    files: list[File] = Field(default_factory=list)
    splits: dict[Literal["train", "test"], str] = Field(default_factory=lambda: {"train": "train", "test": "test"})
    test_fraction: Annotated[Real, Field(gt=0, lt=1)] | None = None
    split_seed: Seed = 0
    channels: Literal[1, 3] = 3
    classes: Annotated[Count, Field(ge=2)] | None = None
    train: Count | None = None
    test: Count | None = None
    crop: Annotated[Real, Field(gt=0, le=1)] = 1.0  # side of the central square that is kept over the shorter side; ImageNet: 0.875
    pairs: bool = False  # whether the name of a file says the categories of its shape and of its texture (`listing.find_pairs`)
    optional: bool = False  # a folder that is not there is no error, and has no images

    @model_validator(mode="after")
    def _is_somewhere(self) -> "Folder":
        if (self.path is None) == (not self.files):
            raise ValueError("either `path`, or `files` with the archives that hold it")
        if self.pairs and (self.part is not None or self.test_fraction is not None):
            raise ValueError("neither `part` nor `test_fraction` where there are `pairs`, as an image has two classes and is a test image")
        return self

    def bring(self, name: str, settings: DownloadSettings) -> list[str]:
        if self.path is None:
            return bring_files(name, self.files, settings, self.gone)
        paths = sorted(path for listed in self.listed(name, self.root).values() for path in listed.paths)
        with bar(title=f"{name}: manifest", total=len(paths), unit="image") as progress:
            files.write_bytes(RAW / name / MANIFEST, manifest(self.root, paths, progress.update))
        return [MANIFEST]

    def read(self, name: str, image_size: int) -> Iterator[Split]:
        if self.path is not None:
            sha256, listed = read_manifest(RAW / name), self.listed(name, self.root)
            compare(name, self.root, listed, sha256)
            yield from pictures(self.root, listed, self, image_size, sha256=sha256)
        else:
            archived = [RAW / name / file.name for file in self.files]
            with archives.extracted(archived, within=cells.folder("extracted")) as folder:
                root, shown = root_within(folder, self), ", ".join(map(str, archived))
                try:
                    listed = self.listed(name, root)
                except RunError as error:  # which names the folder that is about to go
                    raise RunError(str(error).replace(str(folder), shown)) from None
                yield from pictures(root, listed, self, image_size, shown=f"{shown}/{root.relative_to(folder)}".removesuffix("/."))

    def listed(self, name: str, root: Path) -> dict[str, Listed]:
        """The images of each split; where names say pairs, of the test split alone, with two labels each: [n, 2]."""
        return (find_pairs if self.pairs else find)(name, root, self)

    def names_of_classes(self, split: str, x: Pictures, y: np.ndarray) -> list[str]:
        """The names of their folders; where names say pairs, those categories."""
        if self.pairs:
            return self.class_names or sorted({category for path in x.paths for category in categories_of(path)})
        above = 0 if self.test_fraction is not None else len(Path(self.splits[split]).parts)
        return [Path(x.paths[first]).parts[above] for first in np.unique(y, return_index=True)[1]]

    def native_size(self, image_size: int) -> int:
        return image_size  # as images differ in size, they are decoded to the one that is asked for

    @property
    def labels(self) -> Labels:
        return "two" if self.pairs else "one"

    @property
    def root(self) -> Path:
        """The folder of `path`; a relative one is of the original repository, also where DVC runs in a copy of it."""
        return files.state_folder() / self.path

    @property
    def expected_images(self) -> int:
        """None of an optional set, which need not be there."""
        return 0 if self.optional else super().expected_images

    @property
    def file_bytes(self) -> int:
        return sum(file.size or 0 for file in self.files)


Entry = Folder


def root_within(folder: Path, entry: Folder) -> Path:
    """The folder in which the splits are, of all that an archive held: often one folder further down; of pairs, all of it."""
    if entry.pairs:
        return folder
    while not any((folder / split).is_dir() for split in entry.splits.values()):
        inside = [path for path in folder.iterdir() if not is_hidden(path.name)]
        if len(inside) != 1 or not inside[0].is_dir():
            break
        folder = inside[0]
    return folder


def pictures(
    root: Path, listed: dict[str, Listed], entry: Folder, size: int, sha256: dict[str, str] | None = None, shown: str | None = None
) -> Iterator[Split]:
    """Each split: its name, its images, decoded to `size` when they are asked for, and their labels.

    Args:
        sha256, shown: as `Pictures` takes them.
    """
    for split, (paths, y) in listed.items():
        yield split, Pictures(root, paths, size, entry.crop, entry.channels, sha256, shown), y


# The manifest: the content of a folder outside the project when `download` looked


def manifest(root: Path, paths: list[str], progress: Callable[[int], object]) -> bytes:
    """Path, bytes and sha256 of every image, so that the content of a folder that DVC does not hold has a version.

    Args:
        progress: called with the number of images that have been read since the last call.
    """
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(["path", "bytes", "sha256"])
    with ThreadPoolExecutor() as pool:
        for i in range(0, len(paths), BLOCK):  # as all at once would be in the pool's queue
            some = paths[i : i + BLOCK]
            rows.writerows((path, *known) for path, known in zip(some, pool.map(_hash, [root / path for path in some]), strict=True))
            progress(len(some))
    return text.getvalue().encode()


def _hash(path: Path) -> tuple[int, str]:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise RunError(f"{path}: cannot be read: {error.strerror}") from None
    return len(content), hashlib.sha256(content).hexdigest()


def read_manifest(raw: Path) -> dict[str, str]:
    """sha256 by path."""
    try:
        with open(raw / MANIFEST, newline="") as file:
            return {row["path"]: row["sha256"] for row in csv.DictReader(file)}
    except (OSError, KeyError, UnicodeDecodeError) as error:
        raise RunError(f"{raw / MANIFEST}: cannot be read ({error}); {again(raw.name)}") from None


def compare(name: str, root: Path, listed: dict[str, Listed], sha256: dict[str, str]) -> None:
    """Raises RunError where other images are in the folder now than the manifest lists."""
    paths = {path for split in listed.values() for path in split.paths}
    if differing := sorted(paths ^ sha256.keys()):
        raise RunError(f"{root}: has changed since `download` listed it ({differing[0]} and {len(differing) - 1} more); run {again(name)}")
