"""Images whose shape is of one category and whose texture is of another, with names that say which (Geirhos et al. 2019).

`airplane1-bicycle2.png` has the shape of airplane 1 and the texture of bicycle 2. Images may lie in folders of any names. Those whose shape
and texture are of one category, 80 of the published 1,280, are left out.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import numpy as np
from pydantic import Field

from stages.lib.datasets.kinds.base import Images
from stages.lib.datasets.kinds.folder import Folder
from stages.lib.datasets.kinds.listing import SUFFIXES, Listed, absent, below, check, written
from stages.lib.errors import RunError
from stages.lib.progress import log
from stages.lib.settings.fields import Count
from stages.lib.settings.params import DATA_CATALOG

NAME = re.compile(r"(?:^|_)([a-z]+)[0-9]*-([a-z]+)[0-9]*$")


class CueConflict(Folder):
    """The settings of such a set, and how it is brought, read and counted; its images are a test split, with two labels each: [n, 2]."""

    kind: Literal["cue_conflict"]
    splits: dict[Literal["test"], Literal[""]] = Field(default_factory=lambda: {"test": ""})
    test_fraction: None = None
    train: None = None
    test: Count | None = None

    def listed(self, name: str, root: Path) -> dict[str, Listed]:
        """The images in the order of their names; none of an optional set that is not there.

        Raises:
            RunError: names a file whose name says no categories, or the root where it has no two categories.
        """
        if not root.is_dir():
            return absent(f"{root}: no such folder; put the images of {name} there, or correct {name}.path", name, self)
        pairs = dict(_named(root))
        kept = sorted(path for path, (shape, texture) in pairs.items() if shape != texture)
        if len(kept) < len(pairs):
            log(f"{name}: {len(pairs) - len(kept)} images of {len(pairs)} are left out, as shape and texture are of one category")
        categories = self.class_names or sorted({category for path in kept for category in pairs[path]})
        if strange := next((path for path in kept if not set(pairs[path]) <= set(categories)), None):
            raise RunError(f"{root / strange}: its name says {' and '.join(pairs[strange])}; allowed: {', '.join(categories)}")
        if len(categories) < 2:
            raise RunError(f"{root}: holds {len(kept)} images with a shape and another texture; allowed: those of two categories or more")
        return {"test": Listed(kept, np.array([[categories.index(category) for category in pairs[path]] for path in kept]))}

    def names_of_classes(self, split: str, x: Images, y: np.ndarray) -> list[str]:
        """The categories, in the order of the labels."""
        if self.class_names:
            return self.class_names
        return sorted({category for path in x.paths for category in categories_of(path)})

    @property
    def has_two_labels(self) -> bool:
        return True

    def size_problems(self, name: str, settings: object) -> list[str]:
        """Those of any set; and parts, as an image has two classes."""
        parts = [f"{DATA_CATALOG}: {name}.part; allowed: none for cue-conflict images, each of which has two classes"] if self.part else []
        return super().size_problems(name, settings) + parts


Entry = CueConflict


def categories_of(path: str) -> tuple[str, str]:
    """The categories of shape and of texture that a file name says; raises RunError where it says none."""
    found = NAME.search(Path(path).stem.lower())
    if found is None:
        allowed = "<shape><number>-<texture><number>, such as airplane1-bicycle2.png"
        raise RunError(f"{written(path)}: its name does not say the categories of shape and texture; allowed: {allowed}")
    return found[1], found[2]


def _named(root: Path) -> Iterator[tuple[str, tuple[str, str]]]:
    """Each image below the root, with its categories; other files are passed over."""
    for path in below(root):
        if Path(path).suffix.lower() in SUFFIXES:
            check(path)
            yield Path(path).relative_to(root).as_posix(), categories_of(path)
