"""The store of activations: the outputs of a frozen part for a target's images, computed once for all runs and experiments.

An entry is a .npy file, read as a memory map, so that all processes of a machine share its memory; it is kept in
`.cells/activations/` under the hash of all that decides it, with its sha256 beside it. Where the limit leaves no space for an
entry, runs compute the frozen part's pass themselves.
"""

import hashlib
import os
import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from stages.lib.runs import deciding
from stages.lib.runs.jobs import Blocks, Job, Split, Stored
from stages.lib.store import cells, files, verified

ABANDONED_S = 3600.0  # an unfinished file to which nothing was written for so long has lost its process


@dataclass(frozen=True, eq=False)
class Entry:
    """Activations of the training or test images of a target, or of some of them."""

    key: str
    blocks: Blocks  # what is not frozen
    split: Split
    rows: np.ndarray | None  # places of the images in the split, rising; None: all

    @property
    def path(self) -> Path:
        return cells.path_of("activations", self.key, ".npy")

    @property
    def stored(self) -> Stored:
        """The record of an entry that is kept, as it is sent to a worker."""
        return Stored(self.path, self.rows, (cells.load("activations", self.key) or {}).get("sha256", ""))

    def n_rows(self, n: int) -> int:
        """Number of images that the entry holds; n: those of the split."""
        return n if self.rows is None else len(self.rows)


def entry_of(job: Job, blocks: Blocks, split: Split, n: int, needed: np.ndarray) -> Entry:
    """The entry that holds some images of a target; it covers the whole split if a quarter or more of it is needed.

    Args:
        n: images of the split.
        needed: their places in the split, in any order.
    """
    made_from = {
        "source": job.source_sha256, "architecture": job.architecture, "moments": job.moments,
        "images": job.target_sha256[split == "test"], "image_size": job.image_size, "resolution": job.resolution,
        "mixed_precision": job.mixed_precision,
    }  # fmt: skip
    made_by = deciding.code_of("stages.lib.runs.work.frozen", deciding.modules_of_architecture(job.architecture))
    return entry(made_from | made_by, blocks, split, n, needed)


def entry(deciding_values: dict, blocks: Blocks, split: Split, n: int, needed: np.ndarray) -> Entry:
    """The entry, as for `entry_of`; deciding_values: all that decides the activations of one image beside the image and the blocks."""
    rows = np.unique(needed)
    whole = 4 * len(rows) >= n
    held = {"blocks": blocks, "split": split, "rows": None if whole else hashlib.sha256(rows.tobytes()).hexdigest()}
    return Entry(files.digest_of(deciding_values | held), blocks, split, None if whole else rows)


def is_kept(wanted: Entry) -> bool:
    """Whether the store holds the entry whole; it then counts as used now. A damaged entry is removed."""
    record = cells.load("activations", wanted.key)
    if record is None:
        return False
    with suppress(OSError):  # missing, or read-only
        os.utime(wanted.path)  # before it is hashed: what is remembered of a file holds until its times change
    try:
        whole = verified.sha256_of(wanted.path) == record["sha256"]
    except FileNotFoundError:
        whole = False
    if not whole:
        cells.discard("activations", wanted.key)
    return whole


def keep(wanted: Entry, shape: tuple[int, ...], chunks: Iterable[np.ndarray]) -> None:
    """Write an entry, in float32, with its hash.

    Raises:
        RunError: when the disk is full; nothing of the entry is left.
    """
    cells.save("activations", wanted.key, {"sha256": files.write_array(wanted.path, shape, np.float32, chunks)})


def make_room(needed: int, limit: int, but: Iterable[Entry]) -> bool:
    """Remove the entries that were not used for longest until `needed` bytes fit below the limit; False where they cannot.

    Args:
        but: entries that stay.
    """
    staying = {wanted.path for wanted in but}
    sizes = {}
    for path in cells.folder("activations").rglob("*.npy"):
        with suppress(FileNotFoundError):  # another process makes room, too
            sizes[path] = path.stat()
    used = sum(stat.st_size for stat in sizes.values())
    removable = sorted(sizes.keys() - staying, key=lambda path: sizes[path].st_mtime)
    if used + needed - sum(sizes[path].st_size for path in removable) > limit:
        return False
    for path in removable:
        if used + needed <= limit:
            break
        cells.discard("activations", path.stem)
        used -= sizes[path].st_size
    return True


def sweep() -> None:
    """Remove files that were being written when their process was killed."""
    for path in cells.folder("activations").rglob("*.part"):
        with suppress(FileNotFoundError):  # it has just become whole
            if time.time() - path.stat().st_mtime > ABANDONED_S:
                path.unlink()
