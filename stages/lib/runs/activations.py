"""The store of activations: what a frozen part makes of a target's images, computed once for every run and experiment that needs it.

An entry is a .npy file, read as a memory map, so that all processes of a machine share what is in memory; it is kept in
`.cells/activations/` under the hash of all that decides it, with its sha256 beside it. Where an entry finds no room, runs
compute the frozen part's pass themselves.
"""

import hashlib
import os
import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from stages.lib.store import cells, files

ABANDONED_S = 3600.0  # without a byte written to it, after which an unfinished file is nobody's


@dataclass(frozen=True, eq=False)
class Entry:
    """Activations of the training or test images of a target, or of some of them."""

    key: str
    blocks: int  # that are not frozen
    part: str  # train or test
    rows: np.ndarray | None  # of the images, in their order; None: all

    @property
    def path(self) -> Path:
        return cells.path_of("activations", self.key, ".npy")

    def n_rows(self, n: int) -> int:
        """Of how many images; n: those of the part."""
        return n if self.rows is None else len(self.rows)

    def load(self) -> np.ndarray:
        """Memory-mapped, float32 [rows, ..., C]; raises FileNotFoundError when it was removed meanwhile."""
        return np.load(self.path, mmap_mode="r")

    def places(self, subset: np.ndarray) -> np.ndarray:
        """Where images stand in the entry, by their place in the target's images."""
        return subset if self.rows is None else np.searchsorted(self.rows, subset)


def entry(deciding: dict, blocks: int, part: str, n: int, needed: np.ndarray) -> Entry:
    """The entry that holds some images of a part that has n; all of them, unless that is far more.

    Args:
        deciding: what the activations of one image follow from, beside the image and the number of blocks.
        needed: their places, in any order.
    """
    rows = np.unique(needed)
    whole = 4 * len(rows) >= n
    held = {"blocks": blocks, "part": part, "rows": None if whole else hashlib.sha256(rows.tobytes()).hexdigest()}
    return Entry(files.digest_of(deciding | held), blocks, part, None if whole else rows)


def is_kept(wanted: Entry) -> bool:
    """Whether the store holds it whole; it then counts as used now. What is damaged is removed."""
    record = cells.load("activations", wanted.key)
    if record is None:
        return False
    if not wanted.path.is_file() or files.sha256_of(wanted.path) != record["sha256"]:
        cells.discard("activations", wanted.key)
        return False
    os.utime(wanted.path)
    return True


def keep(wanted: Entry, shape: tuple[int, ...], chunks: Iterable[np.ndarray]) -> None:
    """Write it, with its hash; float32.

    Raises:
        RunError: when the disk is full; nothing of it is left.
    """
    cells.save("activations", wanted.key, {"sha256": files.write_array(wanted.path, shape, np.float32, chunks)})


def make_room(needed: int, limit: int, but: Iterable[Entry]) -> bool:
    """Remove what was not used for longest until `needed` bytes fit below the limit; False where they cannot.

    Args:
        but: entries that stay.
    """
    staying = {wanted.path for wanted in but}
    found = {}
    for path in cells.folder("activations").rglob("*.npy"):
        with suppress(FileNotFoundError):  # another process makes room, too
            found[path] = path.stat()
    used = sum(stat.st_size for stat in found.values())
    removable = sorted(found.keys() - staying, key=lambda path: found[path].st_mtime)
    if used + needed - sum(found[path].st_size for path in removable) > limit:
        return False
    for path in removable:
        if used + needed <= limit:
            break
        cells.discard("activations", path.stem)
        used -= found[path].st_size
    return True


def sweep() -> None:
    """Remove files that were being written when their process was killed."""
    for path in cells.folder("activations").rglob("*.part"):
        with suppress(FileNotFoundError):  # it has just become whole
            if time.time() - path.stat().st_mtime > ABANDONED_S:
                path.unlink()
