"""Bringing a published file from one of its mirrors, verified before it takes its name.

What is half brought lies in `.cells/downloads/`, never beside its destination, and the next attempt goes on from there.
"""

import os
import re
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from urllib.parse import unquote, urlparse

from stages.lib import files
from stages.lib.catalog import File
from stages.lib.errors import RunError
from stages.lib.progress import say

LONGEST_WAIT_S = 120.0
Progress = Callable[[int, int | None], None]


class _PassingError(Exception):
    """A fault that may be gone at the next attempt."""


class _MirrorError(Exception):
    """A fault that this mirror will give again."""


def fetch(
    file: File,
    destination: Path,
    *,
    timeout_s: float,
    attempts: int,
    progress: Progress = lambda done, total: None,
    wait: Callable[[float], None] = time.sleep,
) -> str:
    """Bring a file to `destination`, unless it is there and right. Its mirrors are tried in turn.

    Args:
        file: its mirrors (http(s)://, file:// or paths), and its size and checksums as far as they are published.
        timeout_s: longest silence of a server.
        attempts: how often a fault that may pass is tried at each mirror, with 1, 2, 4, ... seconds between.
        progress: called with the bytes that are there and, where known, of the whole file.

    Returns:
        the sha256 of the file.

    Raises:
        RunError: what, from where, and what to do. No half-written file is left at the destination.
    """
    part = files.state_folder() / ".cells" / "downloads" / f"{files.digest_of(file.model_dump(exclude={'mirrors'}))[:32]}.part"
    with files.locked(part.with_suffix(".lock"), str(destination), say):
        if destination.is_file():
            found, wrong = _examine(destination, file)
            if wrong is None:
                return found
            say(f"{destination}: {wrong}; it is fetched again")
        faults = []
        for mirror in file.mirrors:
            try:
                found = _try(file, mirror, part, timeout_s, attempts, progress, wait)
            except _MirrorError as fault:
                faults.append(f"{mirror}: {fault}")
                continue
            _move(part, destination)
            return found
    raise RunError(f"{'; '.join(faults)}. Put the file at {destination} by hand, or correct its mirrors in the catalog")


def _try(file: File, mirror: str, part: Path, timeout_s: float, attempts: int, progress: Progress, wait: Callable) -> str:
    """One mirror, again while the fault may pass; returns the sha256 of what now lies in `part`."""
    part.parent.mkdir(parents=True, exist_ok=True)
    resumed = part.is_file()
    for attempt in range(1, attempts + 1):
        try:
            if urlparse(mirror).scheme in ("http", "https"):
                promised = _download(mirror, part, file, timeout_s, progress)
            else:
                promised = _copy(mirror, part, progress)
        except _PassingError as fault:
            if attempt == attempts:
                raise _MirrorError(f"{fault}, {attempts} times") from None
            wait(min(LONGEST_WAIT_S, getattr(fault, "after_s", 0) or 2.0 ** (attempt - 1)))
            continue
        except OSError as error:
            _forget(part)
            raise RunError(f"{part}: cannot be written: {error.strerror or error}; nothing is left of it") from None
        found, wrong = _examine(part, file, promised)
        if wrong is None:
            return found
        _forget(part)
        if not resumed:
            raise _MirrorError(wrong)
        resumed = False  # what was there before may have been of another version: once more, from the beginning
    raise _MirrorError(wrong)


def _copy(address: str, part: Path, progress: Progress) -> None:
    path = Path(unquote(address.removeprefix("file://"))) if address.startswith("file://") else Path(address)
    if not path.is_file():
        raise _MirrorError("no such file; a mirror is an http(s) address or the path of a file")
    shutil.copyfile(path, part)
    progress(path.stat().st_size, path.stat().st_size)


def _download(address: str, part: Path, file: File, timeout_s: float, progress: Progress) -> str | None:
    """Returns the sha256 that the server itself gives of the file, if any."""
    import requests  # here, as a node without network needs none

    there, mark = part.stat().st_size if part.is_file() else 0, part.with_suffix(".mark")
    if file.size is not None and there == file.size:
        return None
    known = mark.read_text().split("\n") if mark.is_file() else []
    same = known[:1] == [address] and known[1:] != [""]
    if there and not (same or file.sha256 or file.md5):
        there = 0  # nothing would tell that the two parts do not belong together
    headers = (
        {"Accept-Encoding": "identity"}
        | ({"Range": f"bytes={there}-"} if there else {})
        | ({"If-Range": known[1]} if there and same else {})
    )
    try:
        with requests.get(address, stream=True, timeout=timeout_s, headers=headers) as answer:
            _raise_for(answer, part)
            goes_on = answer.status_code == 206 and answer.headers.get("Content-Range", "").startswith(f"bytes {there}-")
            done = there if goes_on else 0
            length = answer.headers.get("Content-Length")
            total = done + int(length) if length else None
            mark.write_text(f"{address}\n{answer.headers.get('ETag', '')}")
            answer.raw.enforce_content_length = False  # what came before the connection broke is wanted, too
            with open(part, "ab" if goes_on else "wb") as target:
                for chunk in answer.iter_content(files.CHUNK):
                    target.write(chunk)
                    done += len(chunk)
                    progress(done, total)
            linked = [a.headers.get("X-Linked-Etag", "").strip('"') for a in (*answer.history, answer)]
    except requests.RequestException as error:
        raise _PassingError(f"no answer ({type(error).__name__})") from error
    if total is not None and done < total:
        raise _PassingError(f"the connection ended after {done} of {total} bytes")
    return next((tag for tag in linked if re.fullmatch("[0-9a-f]{64}", tag)), None)  # as Hugging Face gives it


def _raise_for(answer, part: Path) -> None:
    """What the status of an answer means."""
    if answer.status_code == 416:
        _forget(part)
        raise _PassingError("the server has no more bytes than were there")
    if answer.status_code >= 500 or answer.status_code == 429:
        fault = _PassingError(f"the server answered {answer.status_code}")
        after = answer.headers.get("Retry-After", "")
        fault.after_s = float(after) if after.isdigit() else 0.0
        raise fault
    if not answer.ok:
        raise _MirrorError(f"the server answered {answer.status_code} {answer.reason}")


def _examine(path: Path, file: File, promised: str | None = None) -> tuple[str, str | None]:
    """The sha256 of a file, and what is wrong with it."""
    size, sha256 = path.stat().st_size, files.sha256_of(path)
    with open(path, "rb") as start:
        if re.match(rb"\s*<(!doctype html|html)", start.read(256), re.IGNORECASE):
            return sha256, "an HTML page instead of the file"
    if file.size is not None and size != file.size:
        return sha256, f"{size} bytes; allowed: {file.size}"
    if file.sha256 is not None and not sha256.startswith(file.sha256):
        return sha256, f"sha256 is {sha256}; allowed: {file.sha256}"
    if file.md5 is not None and (md5 := files.md5_of(path)) != file.md5:
        return sha256, f"MD5 is {md5}; allowed: {file.md5}"
    if file.sha256 is None and file.md5 is None:
        if promised is not None and sha256 != promised:
            return sha256, f"sha256 is {sha256}; the server says {promised}"
        say(f"{file.name}: its catalog entry has no checksum; this file has the sha256 {sha256}: add it, so that all get the same")
    return sha256, None


def _move(part: Path, destination: Path) -> None:
    try:
        destination.parent.mkdir(parents=True, exist_ok=True)
        os.replace(part, destination)
    except OSError:  # another file system
        with files.replacing(destination) as temporary:
            shutil.copyfile(part, temporary)
    _forget(part)


def _forget(part: Path) -> None:
    for path in (part, part.with_suffix(".mark")):
        path.unlink(missing_ok=True)
