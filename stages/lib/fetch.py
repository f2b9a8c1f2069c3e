"""Bringing a file from an address or a path, verified before it takes its name."""

import shutil
import time
from collections.abc import Callable
from pathlib import Path
from urllib.parse import unquote, urlparse

from stages.lib import files
from stages.lib.errors import RunError


class _PassingError(Exception):
    """A fault that may be gone at the next attempt."""


def fetch(
    address: str,
    destination: Path,
    *,
    sha256: str,
    timeout_s: float,
    attempts: int,
    progress: Callable[[int, int | None], None] = lambda done, total: None,
    wait: Callable[[float], None] = time.sleep,
) -> None:
    """Copy or download `address` to `destination`. A destination that already has the hash is left as it is.

    Args:
        address: http(s)://, file://, or a path.
        sha256: of the whole file; nothing is kept that has another.
        timeout_s: longest silence of the server.
        attempts: how often a fault that may pass is tried, with 1, 2, 4, ... seconds between.
        progress: called with the bytes that are there and, where known, of the whole file.

    Raises:
        RunError: what, from where, and what to do. No half-written file is left.
    """
    if destination.is_file() and files.sha256_of(destination) == sha256:
        return
    by_hand = f"put the file at {destination} by hand, or correct the address"
    bring = _download if urlparse(address).scheme in ("http", "https") else _copy
    for attempt in range(1, attempts + 1):
        try:
            with files.replacing(destination) as temporary:
                bring(address, temporary, timeout_s, progress)
                _verify(temporary, address, sha256, by_hand)
            return
        except _PassingError as error:
            if attempt == attempts:
                raise RunError(f"{address}: {error}, {attempts} times; {by_hand}") from None
            wait(2.0 ** (attempt - 1))


def _copy(address: str, temporary: Path, timeout_s: float, progress: Callable) -> None:
    path = Path(unquote(address.removeprefix("file://"))) if address.startswith("file://") else Path(address)
    if not path.is_file():
        raise RunError(f"{path}: no such file; give an http(s) address or the path of a file")
    with open(path, "rb") as source, open(temporary, "wb") as target:
        shutil.copyfileobj(source, target, files.CHUNK)
    progress(path.stat().st_size, path.stat().st_size)


def _download(address: str, temporary: Path, timeout_s: float, progress: Callable) -> None:
    import requests  # here, as a node without network needs none

    try:
        with requests.get(address, stream=True, timeout=timeout_s) as answer:
            if answer.status_code >= 500 or answer.status_code == 429:
                raise _PassingError(f"the server answered {answer.status_code}")
            if not answer.ok:
                raise RunError(f"{address}: the server answered {answer.status_code} {answer.reason}; correct the address")
            length = answer.headers.get("Content-Length")
            total = int(length) if length and "Content-Encoding" not in answer.headers else None
            done = 0
            with open(temporary, "wb") as target:
                for chunk in answer.iter_content(files.CHUNK):
                    target.write(chunk)
                    done += len(chunk)
                    progress(done, total)
    except requests.RequestException as error:
        raise _PassingError(f"no answer ({type(error).__name__})") from error
    if total is not None and done < total:
        raise _PassingError(f"the connection ended after {done} of {total} bytes")


def _verify(path: Path, address: str, sha256: str, by_hand: str) -> None:
    found = files.sha256_of(path)
    if found == sha256:
        return
    with open(path, "rb") as file:
        start = file.read(256).lstrip().lower()
    if start.startswith((b"<!doctype html", b"<html")):
        raise RunError(f"{address}: gave an HTML page instead of the file; {by_hand}")
    raise RunError(f"{address}: sha256 is {found}; allowed: {sha256}. Nothing is kept; {by_hand}")
