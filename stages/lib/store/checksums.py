"""Whether a file is the one that the catalog means: by its size, sha256 and MD5."""

import hashlib
from pathlib import Path
from typing import NamedTuple

from stages.lib.settings.catalog import File
from stages.lib.store.files import CHUNK


class Digests(NamedTuple):
    """What a file is known by."""

    size: int  # bytes
    sha256: str
    md5: str


def digests_of(path: Path) -> Digests:
    sha256, md5, size = hashlib.sha256(), hashlib.md5(usedforsecurity=False), 0
    with open(path, "rb") as content:
        while chunk := content.read(CHUNK):
            sha256.update(chunk)
            md5.update(chunk)
            size += len(chunk)
    return Digests(size, sha256.hexdigest(), md5.hexdigest())


def problem_of(path: Path, found: Digests, file: File) -> str | None:
    """In what the file at `path` is not the one of the catalog; None where it is, as far as the catalog says."""
    with open(path, "rb") as content:
        if is_page(content.read(512)):
            return "an HTML page instead of the file"
    if file.size is not None and found.size != file.size:
        return f"it has {found.size} bytes; allowed: {file.size}"
    if not found.sha256.startswith(file.sha256 or ""):
        return f"sha256 is {found.sha256}; allowed: {file.sha256}"
    if file.md5 is not None and found.md5 != file.md5:
        return f"md5 is {found.md5}; allowed: {file.md5}"
    return None


def is_known(file: File) -> bool:
    """Whether the catalog has a checksum of it."""
    return file.sha256 is not None or file.md5 is not None


def is_page(start: bytes) -> bool:
    """Whether these first bytes of a file are those of an HTML page, as a server sends it that wants a log-in or has moved."""
    return start.lstrip(b"\xef\xbb\xbf \t\r\n").lower().startswith((b"<!doctype html", b"<html"))
