"""Inputs compared with the hash that is in the key of the result, wherever they are read: the one way to open an input.

The sha256 of a file is computed once for as long as the file stays the same: its inode, size and times are remembered with the hash
in `.cells/verified/`. So the process that starts a stage hashes an input, and each of its workers only looks at the file's identity,
however large an image set is. DVC recognises files in the same way.
"""

import json
from contextlib import suppress
from pathlib import Path

from stages.lib.errors import RunError
from stages.lib.store import files


def sha256_of(path: Path) -> str:
    """The sha256 of a file, remembered until the file is written again; raises FileNotFoundError where it is missing."""
    path = path.resolve()
    stat = path.stat()
    identity = [stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns]
    record = files.state_folder() / ".cells/verified" / f"{files.digest_of(str(path))}.json"
    with suppress(OSError, ValueError, KeyError, TypeError):  # not there, or no record
        known = json.loads(record.read_text())
        if known["identity"] == identity:
            return known["sha256"]
    sha256 = files.sha256_of(path)
    with suppress(RunError):  # a store that cannot be written: the next reader computes it again
        files.write_json(record, {"identity": identity, "sha256": sha256})
    return sha256


def check(path: Path, sha256: str, whose: str, remedy: str) -> None:
    """Compare a file with the hash that it was made with.

    Args:
        whose: what says the hash, as `its card`.
        remedy: what to do where it differs.

    Raises:
        RunError: when the file is missing or another one.
    """
    try:
        found = sha256_of(path)
    except FileNotFoundError:
        raise RunError(f"{path}: the file is missing; {remedy}") from None
    except OSError as error:
        raise RunError(f"{path}: cannot be read: {error.strerror or error}; {remedy}") from None
    if found != sha256:
        raise RunError(f"{path}: its sha256 is not that of {whose}: the file was damaged or changed; {remedy}")
