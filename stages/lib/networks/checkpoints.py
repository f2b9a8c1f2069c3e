"""Published weights, in three formats: safetensors, torch's own, and that of the `robustness` library.

No file is allowed to run code: of a pickle only tensors and plain values are read, and whatever else it holds, such as the functions
and classes that dill writes beside the weights, is an inert stand (`inert`).
"""

import warnings
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from stages.lib.errors import RunError
from stages.lib.networks import inert, torch_files
from stages.lib.networks.inert import Stand
from stages.lib.networks.torch_files import Piece
from stages.lib.store import files

LONGEST_NAME = 1000  # characters of a tensor's name


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
    return _named(_of_pickle(path) if _is_pickle(path) else files.read_tensors(path), path)


def _is_pickle(path: Path) -> bool:
    """Whether the file is one of torch's zip archives, one of its older files (a pickled number first), or any other pickle."""
    if not path.is_file():
        return False
    with open(path, "rb") as file:
        start = file.read(2)
    return start in (b"PK", b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05")


def _of_pickle(path: Path) -> dict[str, Tensor]:
    """The tensors of the state dict in a file of torch."""
    try:
        with warnings.catch_warnings(action="ignore"):  # of an escape sequence in text that is none
            contents = torch_files.read(path)
        return contents.tensors(_state_of(contents.checkpoint, path))
    except inert.ActingCallError as error:
        raise _needs_code(path, str(error)) from None
    except torch_files.BROKEN as error:
        said = " ".join(str(error).split())[:200]
        raise RunError(f"{path}: no whole checkpoint ({type(error).__name__}: {said}); delete it and run again") from None


def _state_of(checkpoint: object, path: Path) -> dict[str, Piece]:
    """The state dict in a checkpoint: under `model` or `state_dict`, or the checkpoint itself."""
    state = checkpoint
    for key in ("model", "state_dict"):
        if isinstance(checkpoint, dict) and isinstance(checkpoint.get(key), dict | Stand):
            state = checkpoint[key]
            break
    if isinstance(state, dict) and state and all(isinstance(name, str) and isinstance(of, Piece) for name, of in state.items()):
        return state
    held_values = list(state.values()) if isinstance(state, dict) else [state]
    if stand := next((value for value in held_values if isinstance(value, Stand)), None):
        raise _needs_code(path, stand.name)
    held = ", ".join(map(str, list(state)[:5])) if isinstance(state, dict) else type(state).__name__
    raise RunError(f"{path}: holds no state dict; found: {held[:200]}; allowed: names with tensors, alone or under `model` or `state_dict`")


def _needs_code(path: Path, name: str) -> RunError:
    return RunError(
        f"{path}: needs code to be read ({' '.join(name.split())[:100]}), which nobody should run from a download; nothing in it ran. "
        "Take the weights alone: a state dict, or safetensors"
    )


def _named(state: dict[str, Tensor], path: Path) -> Weights:
    """Weights under the names of the network alone: what the `robustness` library wraps around it goes, its normaliser beside them."""
    if longest := max((len(name) for name in state if len(name) > LONGEST_NAME), default=0):
        raise RunError(f"{path}: a tensor has a name of {longest:,} characters; allowed: up to {LONGEST_NAME:,}")
    if broken := next((name for name, tensor in state.items() if not tensor.isfinite().all()), None):
        raise RunError(f"{path}: the tensor {broken} holds values that are no numbers or infinite; allowed: finite weights")
    state = {name.removeprefix("module."): tensor for name, tensor in state.items()}
    mean, std = (_moment(state.get(f"normalizer.new_{name}", state.get(f"attacker.normalize.new_{name}"))) for name in ("mean", "std"))
    if any(moment is not None and len(moment) != 3 for moment in (mean, std)) or min(std or [1]) <= 0:
        raise RunError(f"{path}: normalises with mean {mean} and std {std}; allowed: three numbers each, those of std above 0")
    state = {name: tensor for name, tensor in state.items() if not name.startswith(("normalizer.", "attacker."))}
    while state and all(name.startswith("model.") for name in state):
        state = {name.removeprefix("model."): tensor for name, tensor in state.items()}
    return Weights(state, mean, std)


def _moment(values: Tensor | None) -> list[float] | None:
    """A mean or std per channel; of more values than channels the first few, which are refused afterwards."""
    return None if values is None else values.flatten()[:4].tolist()
