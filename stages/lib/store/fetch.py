"""Bringing a published file: from the first of its mirrors that has it, verified before it takes its name.

Half-downloaded bytes are kept in `.cells/downloads/`, never beside the destination, and the next attempt goes on from there.
"""

import json
import os
import shutil
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlparse

from stages.lib.errors import RunError
from stages.lib.progress import log
from stages.lib.settings.catalog import File
from stages.lib.store import cells, files
from stages.lib.store.checksums import Digests, digests_of, is_known, is_page, problem_of

LONGEST_WAIT_S = 300.0  # a server that asks for more is asked again after so long
Progress = Callable[[int, int | None], None]  # bytes that are there and, where known, of the whole file


class _PassingError(Exception):
    """A fault that may be gone at the next attempt, after as many seconds as the server asks for."""

    def __init__(self, text: str, after_s: float = 0.0):
        super().__init__(text)
        self.after_s = after_s


class _LastingError(Exception):
    """A fault of this mirror that another attempt will not mend."""


@dataclass(frozen=True)
class _Part:
    """A half-downloaded file, and beside it a card: the mirror that it comes from, and its version there (ETag or date)."""

    path: Path

    @property
    def card(self) -> Path:
        return self.path.with_suffix(".json")

    def start_from(self, mirror: str) -> tuple[int, str | None]:
        """How many bytes of the file this mirror has already sent, and in which version of it."""
        try:
            card = json.loads(self.card.read_text())
            if card["mirror"] == mirror:
                return self.path.stat().st_size, card["version"]
        except (OSError, ValueError, KeyError, TypeError):
            pass  # a card that is missing or damaged: the download begins anew
        return 0, None

    def begin(self, mirror: str, version: str | None) -> None:
        self.path.write_bytes(b"")
        files.write_json(self.card, {"mirror": mirror, "version": version})

    def clear(self) -> None:
        for path in (self.path, self.card):
            path.unlink(missing_ok=True)


def fetch(
    file: File,
    destination: Path,
    *,
    timeout_s: float,
    attempts: int,
    progress: Progress = lambda done, total: None,
    wait: Callable[[float], None] = time.sleep,
) -> str:
    """Copy or download `file` to `destination`; a right file that is there already is used as it is, without network.

    Args:
        timeout_s: longest silence of a server.
        attempts: how often each mirror is tried while its fault may pass, with pauses of 1, 2, 4, ... seconds, or as the server asks.

    Returns:
        The sha256 of the file.

    Raises:
        RunError: says what went wrong at each mirror, and what to do. A file that was at the destination before is still there.
    """
    downloads = cells.folder("downloads")
    known = files.digest_of(file.model_dump())
    part = _Part(downloads / f"{known}.part")
    with files.locked(downloads / f"{known}.lock", file.name, log):
        present = _present(destination, file)
        if isinstance(present, Digests):
            return present.sha256
        wrong = [f"{destination}: {present}"] if present else []
        for mirror in file.mirrors:
            try:
                return _from_mirror(mirror, file, destination, part, timeout_s, attempts, progress, wait)
            except _LastingError as error:
                wrong.append(f"{mirror}: {error}")
        raise RunError(f"{'; '.join(wrong)}. Put the file at {destination} by hand, or correct its entry in the catalog")


def _present(destination: Path, file: File) -> Digests | str | None:
    """The digests of the file at the destination where it is the right one; else what is wrong with it; None where no file is there."""
    if not destination.is_file():
        return None
    digests = digests_of(destination)
    problem = problem_of(destination, digests, file)
    if problem:
        log(f"{destination}: {problem}; it is brought anew")
    elif not is_known(file):
        _say_checksum(file, digests)
    return problem or digests


def _from_mirror(
    mirror: str, file: File, destination: Path, part: _Part, timeout_s: float, attempts: int, progress: Progress, wait: Callable
) -> str:
    bring = _download if urlparse(mirror).scheme in ("http", "https") else _copy
    for attempt in range(1, attempts + 1):
        try:
            return bring(mirror, file, destination, part, timeout_s, progress)
        except _PassingError as error:
            if attempt == attempts:
                raise _LastingError(f"{error}{f', {attempts} times' if attempts > 1 else ''}") from None
            wait(min(max(2.0 ** (attempt - 1), error.after_s), LONGEST_WAIT_S))
    raise AssertionError("attempts is at least 1")


def _copy(mirror: str, file: File, destination: Path, part: _Part, timeout_s: float, progress: Progress) -> str:
    path = Path(unquote(mirror.removeprefix("file://"))) if mirror.startswith("file://") else Path(mirror)
    if not path.is_file():
        raise _LastingError("no such file; give an http(s) address or the path of a file")
    with files.replacing(destination) as temporary:
        with open(path, "rb") as source, open(temporary, "wb") as target:
            shutil.copyfileobj(source, target, files.CHUNK)
        digests = _verified(temporary, file, None)
    progress(digests.size, digests.size)
    return digests.sha256


def _download(mirror: str, file: File, destination: Path, part: _Part, timeout_s: float, progress: Progress) -> str:
    import requests  # here, as a node without network needs none
    from urllib3.exceptions import HTTPError

    start, version = part.start_from(mirror)
    asked = {"Accept-Encoding": "identity"}
    if start:
        asked |= {"Range": f"bytes={start}-"} | ({"If-Range": version} if version else {})
    try:
        with requests.get(mirror, headers=asked, stream=True, timeout=timeout_s) as answer:
            start = _start_of(answer, start, mirror, part)
            _receive(answer, file, part, start, progress)
            promised = next((sha for a in [*answer.history, answer] if (sha := _promised_sha256(a.headers))), None)
    except (requests.RequestException, HTTPError) as error:
        raise _PassingError(f"no answer ({type(error).__name__})") from None
    except OSError as error:
        raise RunError(f"{part.path}: cannot be written: {error.strerror or error}; with more room it goes on from there") from error
    try:
        digests = _verified(part.path, file, promised)
    except _LastingError as error:
        part.clear()
        if start:  # the two halves may be of different files: the download begins anew
            raise _PassingError(str(error)) from None
        raise
    _move(part, destination)
    return digests.sha256


def _start_of(answer: Any, start: int, mirror: str, part: _Part) -> int:
    """The byte from which on the server sends the file; raises where it does not send the file at all."""
    if answer.status_code in (408, 429) or answer.status_code >= 500:
        asked_for = answer.headers.get("Retry-After", "")
        raise _PassingError(f"the server answered {answer.status_code}", float(asked_for) if asked_for.isdecimal() else 0.0)
    if answer.status_code == 416:
        part.clear()
        raise _PassingError(f"the server has nothing beyond byte {start}; the next attempt starts anew")
    if not answer.ok:
        raise _LastingError(f"the server answered {answer.status_code} {answer.reason}")
    if answer.status_code == 206 and start:
        if answer.headers.get("Content-Range", "").startswith(f"bytes {start}-"):
            return start
        part.clear()
        raise _PassingError("the server sent another part than the one that was asked for")
    version = answer.headers.get("ETag", "")
    part.path.parent.mkdir(parents=True, exist_ok=True)
    part.begin(mirror, answer.headers.get("Last-Modified") if version.startswith("W/") or not version else version)
    return 0


def _receive(answer: Any, file: File, part: _Part, start: int, progress: Progress) -> None:
    """Append what the server sends to the part, byte for byte as it comes, so that a cut connection loses none."""
    length = answer.headers.get("Content-Length", "")
    length = int(length) if length.isdecimal() else None  # what is no number says nothing
    total = file.size if length is None else start + length
    if length is None and file.size is None and not is_known(file) and not answer.raw.chunked:
        raise _LastingError("the server does not say how long the file is, so it cannot be known to be whole; give its size or sha256")
    done = start
    with open(part.path, "ab") as target:
        while chunk := answer.raw.read1(files.CHUNK, decode_content=False):
            if done == 0 and is_page(chunk):
                part.clear()
                raise _LastingError("an HTML page instead of the file")
            target.write(chunk)
            done += len(chunk)
            progress(done, total)
    if length is not None and done < total:
        raise _PassingError(f"the connection ended after {done} of {total} bytes")


def _promised_sha256(headers: Any) -> str | None:
    """The sha256 that Hugging Face gives for a large file where it redirects to its storage; None where there is none."""
    value = headers.get("X-Linked-Etag", "").strip('"')
    return value if len(value) == 64 and set(value) <= set("0123456789abcdef") else None


def _verified(path: Path, file: File, promised: str | None) -> Digests:
    """The digests of a file; raises _LastingError where they are not those of the catalog or, if it has none, of the server's promise."""
    digests = digests_of(path)
    if problem := problem_of(path, digests, file):
        raise _LastingError(f"{problem}; nothing is kept")
    if not is_known(file):
        if promised not in (None, digests.sha256):
            raise _LastingError(f"sha256 is {digests.sha256}; the server promised {promised}; nothing is kept")
        _say_checksum(file, digests)
    return digests


def _say_checksum(file: File, digests: Digests) -> None:
    log(f"{file.name}: the catalog has no checksum of it; add `sha256: {digests.sha256}` to its entry")


def _move(part: _Part, destination: Path) -> None:
    """Give the verified part its name; to another file system it is copied whole before it gets the name."""
    with files.replacing(destination) as temporary:
        try:
            os.replace(part.path, temporary)
        except OSError:
            with open(part.path, "rb") as source, open(temporary, "wb") as target:
                shutil.copyfileobj(source, target, files.CHUNK)
    with suppress(OSError):
        part.clear()
