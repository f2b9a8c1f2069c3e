"""Published weights, in three formats: safetensors, torch's own, and that of the `robustness` library.

No file is allowed to run code: pickles are read by torch's restricted unpickler alone, which knows tensors and plain values.
"""

import pickle
import re
import warnings
import zipfile
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from stages.lib.errors import RunError
from stages.lib.store import files


@dataclass(frozen=True)
class Weights:
    """Tensors under the names that the network's authors gave them, and the normalisation that they were trained with, if known."""

    tensors: dict[str, Tensor]
    mean: list[float] | None = None  # per channel, of images in [0, 1]
    std: list[float] | None = None


def read(path: Path) -> Weights:
    """The weights of a file.

    A checkpoint of the `robustness` library holds the network twice, as `module.model.` and for its attacker as
    `module.attacker.model.`; the first is taken, and the normaliser beside it. A name may carry one more `model.`.

    Raises:
        RunError: one line, for a file that is missing, broken, in another format, or would need code to be read.
    """
    if _is_pickle(path):
        return _named(_state_of(_unpickled(path), path))
    return _named(files.read_tensors(path))


def _is_pickle(path: Path) -> bool:
    """Whether the file is one of torch's zip archives, one of its older files (a pickled number first), or any other pickle."""
    if not path.is_file():
        return False
    with open(path, "rb") as file:
        start = file.read(2)
    return start in (b"PK", b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05")


def _unpickled(path: Path) -> object:
    try:
        with open(path, "rb") as file, warnings.catch_warnings(action="ignore"):  # errors below say in one line what is wrong
            return torch.load(file, map_location="cpu", weights_only=True)  # a path would be read by its suffix
    except pickle.UnpicklingError as error:
        needed = re.search(r"GLOBAL ([\w.<>]+)", str(error)) or re.search(r"class ([\w.<>]+)", str(error))
        if needed:
            raise RunError(
                f"{path}: needs code to be read ({needed[1]}), which nobody should run from a download; nothing in it ran. "
                "Take the weights alone: a state dict, or safetensors"
            ) from None
        reason = str(error).rpartition("WeightsUnpickler error: ")[2]  # what precedes it is advice to read the file unrestricted
        problem = ValueError("a pickle that the restricted reader does not know; nothing in it ran: " + reason.split("Check the doc")[0])
    except (RuntimeError, EOFError, ValueError, KeyError, OSError, zipfile.BadZipFile, AttributeError, IndexError, TypeError) as error:
        problem = error
    said = " ".join(str(problem).split())[:200]
    raise RunError(f"{path}: no whole checkpoint ({type(problem).__name__}: {said}); delete it and run again")


def _state_of(checkpoint: object, path: Path) -> dict[str, Tensor]:
    """The state dict in a checkpoint: under `model` or `state_dict`, or the checkpoint itself."""
    state = checkpoint
    for key in ("model", "state_dict"):
        if isinstance(checkpoint, dict) and isinstance(checkpoint.get(key), dict):
            state = checkpoint[key]
            break
    if not isinstance(state, dict) or not state or not all(isinstance(tensor, Tensor) for tensor in state.values()):
        held = ", ".join(map(str, list(state)[:5])) if isinstance(state, dict) else type(state).__name__
        raise RunError(f"{path}: holds no state dict; found: {held}; allowed: names with tensors, alone or under `model` or `state_dict`")
    return state


def _named(state: dict[str, Tensor]) -> Weights:
    """Weights under the names of the network alone: what the `robustness` library wraps around it goes, its normaliser beside them."""
    state = {name.removeprefix("module."): tensor for name, tensor in state.items()}
    moments = [state.get(f"normalizer.new_{name}", state.get(f"attacker.normalize.new_{name}")) for name in ("mean", "std")]
    state = {name: tensor for name, tensor in state.items() if not name.startswith(("normalizer.", "attacker."))}
    while state and all(name.startswith("model.") for name in state):
        state = {name.removeprefix("model."): tensor for name, tensor in state.items()}
    return Weights(state, *(None if moment is None else moment.flatten().tolist() for moment in moments))
