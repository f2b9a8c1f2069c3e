"""A published file that stays what it was at its first fetch, also where the catalog does not say its whole sha256.

The first digits of a sha256 (as torchvision publishes them) or an MD5 tell a broken file from a whole one, but not the file from one
that somebody made to have the same digits.
"""

import re
from pathlib import Path

from stages.lib.errors import RunError
from stages.lib.progress import log
from stages.lib.settings.catalog import File
from stages.lib.store import files
from stages.lib.store.checksums import is_whole
from stages.lib.store.fetch import fetch


def note_of(destination: Path) -> Path:
    """The file beside a fetched one that holds its sha256, as `sha256sum --check` reads it."""
    return destination.with_name(f"{destination.name}.sha256")


def fetch_pinned(file: File, destination: Path, **how: object) -> str:
    """As `fetch`; of a file whose whole sha256 the catalog does not say, that of the first fetch is noted and holds from then on.

    Args:
        how: what else `fetch` takes.

    Raises:
        RunError: also for another file than that of the first fetch; says how to accept it.
    """
    if is_whole(file):
        return fetch(file, destination, **how)
    note = note_of(destination)
    pinned = _read(note)
    if pinned is None or not pinned.startswith(file.sha256 or ""):  # the first fetch, or the catalog means another file now
        sha256 = fetch(file, destination, **how)
        files.write_bytes(note, f"{sha256}  {destination.name}\n".encode())
        log(f"{file.name}: its sha256 holds from now on ({note}); better still, its entry says `sha256: {sha256}`")
        return sha256
    try:
        return fetch(file.model_copy(update={"sha256": pinned}), destination, **how)
    except RunError as error:
        raise RunError(f"{error}. {note} allows the file of the first fetch alone; delete it to accept another one") from None


def _read(note: Path) -> str | None:
    """The sha256 that a note holds; None where there is no note."""
    if not note.exists():
        return None
    found = re.match(r"[0-9a-f]{64}\b", note.read_text(errors="replace"))
    if not found:
        raise RunError(f"{note}: holds no sha256; delete it, and the next fetch writes it anew")
    return found[0]
