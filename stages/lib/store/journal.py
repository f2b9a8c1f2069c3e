"""The journal of a stage's execution: its settings, metrics and files, and how it ended. This module does not know MLflow.

A journal is a file of JSON lines in `.runs/` beside the original repository. `tracking` mirrors journals into the
tracking store, and removes each from `.runs/` when all of it has arrived; so nothing is lost while the store is away.
A stage that lasts starts a follower, which mirrors its journal while it grows.
"""

import fcntl
import json
import os
import subprocess
import sys
import threading
import time
import traceback
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil

from stages.lib.errors import RunError
from stages.lib.progress import log
from stages.lib.store import code, files

LIVE_AFTER_S = 60  # a shorter stage is mirrored by `track`: the follower takes 3 s of CPU to import MLflow
SAMPLE_EVERY_S = 5


def folder() -> Path:
    return files.state_folder() / ".runs"


class Journal:
    """Appends events to a file that only its stage writes. The stage holds a lock on it for as long as it lives."""

    def __init__(self, name: str, stage: str):
        self.path = folder() / f"{stage}-{uuid.uuid4().hex}.jsonl"
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._file = open(self.path, "a")  # noqa: SIM115  closed by `close`, as its lock says that the stage lives
        except OSError as error:
            raise RunError(f"{self.path}: cannot be written: {error.strerror}") from None
        fcntl.flock(self._file, fcntl.LOCK_EX)
        self._guard = threading.Lock()
        self.event("start", name=name, stage=stage, dvc_experiment=os.environ.get("DVC_EXP_NAME") or "workspace", git_commit=git_commit())

    def event(self, kind: str, **values: Any) -> None:
        line = json.dumps({"event": kind, "time_ms": int(time.time() * 1000), **values})
        with self._guard:
            if self._file.closed:  # a last sample of the machine came too late
                return
            try:
                os.write(self._file.fileno(), f"{line}\n".encode())
            except OSError as error:
                raise RunError(f"{self.path}: cannot be written: {error.strerror}") from None

    def params(self, values: Mapping[str, Any]) -> None:
        """Write settings down; nested keys are joined by dots."""
        self.event("params", values=flatten(values))

    def metrics(self, values: Mapping[str, float], step: int = 0) -> None:
        self.event("metrics", values=dict(values), step=step)

    def cell(self, key: str, params: Mapping[str, Any], history: list[tuple[int, Mapping[str, float]]], seconds: float = 0) -> None:
        """Write a finished cell down: its parameters, its metrics as (epoch, values), and how long it took."""
        self.event("cell", key=key, params=dict(params), history=history, seconds=seconds)

    def file(self, role: str, path: Path) -> None:
        """Write an input or output down with its hash; the hash of a folder is that of its listing."""
        self.event("file", role=role, path=str(path), digest=_digest(path), bytes=_size(path))

    def close(self, status: str) -> None:
        self.event("end", status=status)
        with self._guard:
            self._file.close()


@contextmanager
def execution(stage: str, *items: str, settings: Mapping[str, Any], inputs: list[Path], outputs: list[Path]) -> Iterator[Journal]:
    """The frame of every stage: it holds the lock, writes the journal with system metrics, and notes errors.

    Args:
        stage: name of the stage.
        items: its place in the matrix of the stage.
        settings: those of params.yaml and the catalogs that the stage reads.
        inputs, outputs: files or folders, whose hashes the journal keeps.
    """
    name = "@".join([stage, "-".join(items)]) if items else stage
    lock = Path(".dvc/tmp/stages") / f"{name}.lock"
    with files.locked(lock, name, log):
        journal = Journal(name, stage)
        ended = threading.Event()
        threading.Thread(target=_sample, args=(journal, ended), daemon=True).start()
        started, status = time.monotonic(), "FAILED"
        try:
            journal.params({stage: settings})
            for path in inputs:
                journal.file("input", path)
            yield journal
            for path in outputs:
                journal.file("output", path)
            status = "FINISHED"
        except RunError as error:
            journal.event("note", text=str(error))
            raise
        except Exception:
            journal.event("note", text=traceback.format_exc())
            raise
        except KeyboardInterrupt:
            status = "KILLED"
            sys.exit(f"{name}: interrupted; it goes on from here at the next `dvc repro`")
        finally:
            ended.set()
            with suppress(RunError):  # a full disk: the error that is being raised says so
                journal.metrics({"duration_s": time.monotonic() - started})
                journal.close(status)


def git_commit() -> str | None:
    """The commit that is checked out, None outside a Git repository."""
    answer = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=False)
    return answer.stdout.strip() or None


def reading(path: Path) -> tuple[list[dict], bool]:
    """All whole events of a journal, and whether the stage that writes it still lives."""
    with open(path) as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            alive = False
        except BlockingIOError:
            alive = True
        lines = file.read().split("\n")[:-1]  # what follows the last newline was cut off by a kill
    return [json.loads(line) for line in lines], alive


def flatten(values: Mapping[str, Any], between: str = ".", prefix: str = "") -> dict[str, Any]:
    """Nested mappings as one with joined keys: {a: {b: 1}} becomes {a.b: 1}; lists stay whole."""
    flat: dict[str, Any] = {}
    for key, value in values.items():
        flat |= flatten(value, between, f"{prefix}{key}{between}") if isinstance(value, Mapping) else {f"{prefix}{key}": value}
    return flat


def _sample(journal: Journal, ended: threading.Event) -> None:
    """Start the follower of a stage that lasts, and note the use of processor and memory every few seconds."""
    if ended.wait(LIVE_AFTER_S):
        return
    log = journal.path.with_suffix(".log")
    with open(log, "w") as output:
        subprocess.Popen([sys.executable, "-m", "stages.track", "--follow", str(journal.path)], cwd=code.ROOT, stdout=output, stderr=output)
    (_, used), at = _usage(), time.monotonic()
    for step in range(1 << 30):
        if ended.wait(SAMPLE_EVERY_S):
            return
        (memory, used_now), now = _usage(), time.monotonic()
        values = {"system/cpu_percent": 100 * (used_now - used) / (now - at), "system/memory_gb": memory / 1e9}
        used, at = used_now, now
        with suppress(RunError):
            journal.metrics(values, step)


def _usage() -> tuple[int, float]:
    """Memory in bytes, and seconds of processors, that this process, those that it has started, and those that these have, use or used."""
    process, memory, seconds = psutil.Process(), 0, 0.0
    for each in [process, *process.children(recursive=True)]:
        with suppress(psutil.Error):
            memory += each.memory_info().rss
            times = each.cpu_times()
            seconds += times.user + times.system + times.children_user + times.children_system  # children: those that have ended
    return memory, seconds


def _digest(path: Path) -> str | None:
    """The hash of a file or folder; of an image set, that of its card, which holds the hashes of its splits, as images may be large."""
    if (path / "card.json").is_file():
        return files.sha256_of(path / "card.json")
    if path.is_dir():
        return files.digest_of({str(p.relative_to(path)): files.sha256_of(p) for p in sorted(path.rglob("*")) if p.is_file()})
    return files.sha256_of(path) if path.is_file() else None


def _size(path: Path) -> int:
    paths = path.rglob("*") if path.is_dir() else [path]
    return sum(p.stat().st_size for p in paths if p.is_file())
