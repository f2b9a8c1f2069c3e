"""Whether a file is the one that the catalog means: by its size, sha256 and MD5."""

import hashlib
from pathlib import Path
from typing import NamedTuple

from stages.lib.settings.catalog import File
from stages.lib.store.files import CHUNK


class Digests(NamedTuple):
    """Size and checksums, by which a file is known."""

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


def problem_of(path: Path, digests: Digests, file: File) -> str | None:
    """How the file at `path` differs from the entry of the catalog; None where nothing that the entry says differs."""
    with open(path, "rb") as content:
        if is_page(content.read(512)):
            return "an HTML page instead of the file"
    if file.size is not None and digests.size != file.size:
        return f"it has {digests.size} bytes; allowed: {file.size}"
    if not digests.sha256.startswith(file.sha256 or ""):
        return f"sha256 is {digests.sha256}; allowed: {file.sha256}"
    if file.md5 is not None and digests.md5 != file.md5:
        return f"md5 is {digests.md5}; allowed: {file.md5}"
    return None


def is_known(file: File) -> bool:
    """Whether the catalog has a checksum of the file."""
    return file.sha256 is not None or file.md5 is not None


def is_whole(file: File) -> bool:
    """Whether the catalog has the whole sha256 of the file, which no other file can be made to have."""
    return len(file.sha256 or "") == 64


def is_page(start: bytes) -> bool:
    """Whether a file that starts with these bytes is an HTML page: servers that ask for a log-in, or have moved, send one."""
    return start.lstrip(b"\xef\xbb\xbf \t\r\n").lower().startswith((b"<!doctype html", b"<html"))
