"""The cell store: one small file for each finished piece of work, under the hash of all that decides its result.

A cell that exists is finished; there is no other record. So a killed stage goes on where it stopped, and experiments
that share a cell share its result. Cells are kept in `.cells/` beside the original repository, outside Git and DVC.
"""

import json
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from stages.lib.errors import RunError
from stages.lib.store import files


def folder(kind: str) -> Path:
    """The folder of all cells of a kind."""
    return files.state_folder() / ".cells" / kind


def path_of(kind: str, key: str, suffix: str = ".json") -> Path:
    """The file of a cell: its result, or with another suffix a file that is kept beside the result."""
    return folder(kind) / key[:2] / f"{key}{suffix}"


def save(kind: str, key: str, result: dict[str, Any], tensors: dict[str, Any] | None = None) -> None:
    """Keep a result. Its tensors are written first, so that a cell that exists always has them."""
    if tensors is not None:
        weights = path_of(kind, key, ".safetensors")
        files.write_tensors(weights, tensors)
        result = result | {"weights_sha256": files.sha256_of(weights)}
    _write(kind, key, result)


def adopt(kind: str, key: str, result: dict[str, Any], weights: Path | None) -> None:
    """Keep a result that was computed elsewhere, with the file of its tensors, whose hash the result names."""
    if weights is not None:
        files.write_bytes(path_of(kind, key, ".safetensors"), weights.read_bytes())
    _write(kind, key, result)


def load(kind: str, key: str, log: Callable[[str], None] | None = None) -> dict[str, Any] | None:
    """The result kept under a key, or None. A damaged cell counts as absent, with a warning."""
    path = path_of(kind, key)
    try:
        cell = json.loads(path.read_text())
        if cell["digest"] != files.digest_of(cell["result"]):
            raise ValueError("its digest does not fit")
        weights = cell["result"].get("weights_sha256")
        if weights is not None and files.sha256_of(path.with_suffix(".safetensors")) != weights:
            raise ValueError("its weights do not have the hash that they were written with")
    except FileNotFoundError as error:
        if Path(error.filename) == path:
            return None
        _warn(log, f"{path}: its weights are missing; computed again")
    except (ValueError, KeyError, TypeError, OSError) as error:
        _warn(log, f"{path}: a damaged cell ({error}); computed again")
    else:
        return cell["result"]
    return None


def seconds(kind: str, key: str) -> float:
    """How long a cell took that is kept here under a key, or under one that begins so; 0 where that is not known."""
    for path in folder(kind).glob(f"{key[:2]}/{key}*.json"):
        with suppress(ValueError, KeyError, TypeError, OSError):
            return float(json.loads(path.read_text())["result"]["seconds"])
    return 0.0


def arrays(kind: str, key: str) -> dict[str, np.ndarray]:
    """The tensors that were kept beside a result, as NumPy arrays and without importing torch."""
    return files.read_arrays(path_of(kind, key, ".safetensors"))


def tensors(kind: str, key: str) -> dict[str, Any]:
    """The tensors that were kept beside a result."""
    return files.read_tensors(path_of(kind, key, ".safetensors"))


def discard(kind: str, key: str) -> None:
    """Remove a cell and all that is kept beside it."""
    for path in path_of(kind, key).parent.glob(f"{key}.*"):
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            raise RunError(f"{path}: cannot be removed: {error.strerror}") from None


def _write(kind: str, key: str, result: dict[str, Any]) -> None:
    files.write_json(path_of(kind, key), {"result": result, "digest": files.digest_of(result)})


def _warn(log: Callable[[str], None] | None, line: str) -> None:
    (log or (lambda text: print(text, file=sys.stderr)))(f"warning: {line}")
