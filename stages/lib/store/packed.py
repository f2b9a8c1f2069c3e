"""Finished cells among a stage's results, so that they travel with these: through `dvc push`, `dvc pull` and DVC's caches.

The cell store stays on the machine that filled it. Where results were pulled, the store is empty, and DVC deletes the results of a
stage before it runs it; so the stage `check`, which runs first, takes packed cells into the store. Each stands under its whole key
and beside its digest, and weights count only with the hash that the cell names: what was damaged on its way is left out, and computed
again. `seconds` stays behind: the same results are to give the same bytes.
"""

import json
import re
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

from stages.lib.errors import RunError
from stages.lib.store import cells, files

NAME = "cells.json"  # among the results of a stage


def pack(folder: Path, results: Mapping[str, dict[str, Any]], with_weights: Collection[str]) -> None:
    """Write cells into a file of the folder.

    Args:
        results: those of the cells, by their keys.
        with_weights: keys of the cells whose weights are in the folder, too.
    """
    packed = {}
    for key, result in results.items():
        left_out = {"seconds"} if key in with_weights else {"seconds", "weights_sha256"}
        kept = {name: value for name, value in result.items() if name not in left_out}
        packed[key] = {"result": kept, "digest": files.digest_of(kept)}
    files.write_json(folder / NAME, packed)


def results(folder: Path) -> list[dict[str, Any]]:
    """The results of the packed cells of a folder; none without such a file.

    Raises:
        RunError: names the file, when it is unreadable.
    """
    path = folder / NAME
    if not path.exists():
        return []
    packed = files.read_json(path)
    try:
        return [cell["result"] for cell in packed.values()]
    except (KeyError, TypeError, AttributeError) as error:
        raise RunError(f"{path}: holds no packed cells ({error}); run `dvc repro` to make it again") from None


def unpack(folder: Path, kind: str, log: Callable[[str], None]) -> int:
    """Take the packed cells of a folder that the store lacks into the store; returns how many. Without such a file there are none."""
    path = folder / NAME
    try:
        lacking = {key: cell for key, cell in json.loads(path.read_bytes()).items() if _is_lacking(kind, key)}
    except FileNotFoundError:
        return 0
    except (OSError, ValueError, AttributeError) as error:
        log(f"warning: {path}: no packed cells can be read ({error}); what the store lacks of them is computed again")
        return 0
    weights = {files.sha256_of(file): file for file in folder.rglob("*.safetensors")} if lacking else {}
    taken = 0
    for key, cell in lacking.items():
        try:
            if files.digest_of(cell["result"]) != cell["digest"]:
                raise ValueError("its digest does not fit")
            sha256 = cell["result"].get("weights_sha256")
            if sha256 is not None and sha256 not in weights:
                raise ValueError("its weights are missing or damaged")
            cells.adopt(kind, key, cell["result"], weights.get(sha256))
            taken += 1
        except (KeyError, ValueError, TypeError, AttributeError) as error:
            log(f"warning: {path}: the cell {key[:16]} is left out ({error}); computed again")
    return taken


def _is_lacking(kind: str, key: str) -> bool:
    return re.fullmatch("[0-9a-f]{64}", key) is not None and not cells.path_of(kind, key).exists()
