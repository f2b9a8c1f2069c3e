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
NORMALISERS = ("normalizer.", "attacker.", "normalize.", "normalise.")  # beside the network: of `robustness`, RobustBench, our units
WRAPPERS = ("module.", "base_model.", "model.")  # around it: of torch's data parallelism, Singh et al. (2023), RobustBench and others
OTHER_TENSORS = "torch._utils._rebuild_"  # begins what makes sparse, quantised, nested and meta tensors


@dataclass(frozen=True)
class Weights:
    """Tensors under the names that the network's authors gave them, and the normalisation that they were trained with, if known."""

    tensors: dict[str, Tensor]
    mean: list[float] | None = None  # per channel, of images in [0, 1]
    std: list[float] | None = None


def read(path: Path) -> Weights:
    """The weights of a file.

    A checkpoint of the `robustness` library holds the network twice, as `module.model.` and for its attacker as
    `module.attacker.model.`; the first is taken, and the normaliser beside it. Around the network there may be more of `module.`,
    `base_model.` and `model.`, and a normaliser beside it as `normalize.`, as RobustBench has them; our units have it as `normalise.`.

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
    for key in ("model", "state_dict", "model_state_dict"):
        if isinstance(checkpoint, dict) and isinstance(checkpoint.get(key), dict | Stand):
            state = checkpoint[key]
            break
    if isinstance(state, dict) and state and all(isinstance(name, str) and isinstance(of, Piece) for name, of in state.items()):
        return state
    held_values = state if isinstance(state, dict) else {"it": state}
    if stand := next(((name, value) for name, value in held_values.items() if isinstance(value, Stand)), None):
        raise _not_dense(path, *stand) if stand[1].name.startswith(OTHER_TENSORS) else _needs_code(path, stand[1].name)
    held = ", ".join(map(str, list(state)[:5])) if isinstance(state, dict) else type(state).__name__
    raise RunError(f"{path}: holds no state dict; found: {held[:200]}; allowed: names with tensors, alone or under `model` or `state_dict`")


def _not_dense(path: Path, name: object, stand: Stand) -> RunError:
    kind = stand.name.removeprefix(OTHER_TENSORS)
    return RunError(f"{path}: {name!r} is no dense tensor of usual numbers, but a {kind}; allowed: dense tensors, as of float32")


def _needs_code(path: Path, name: str) -> RunError:
    return RunError(
        f"{path}: needs code to be read ({' '.join(name.split())[:100]}), which nobody should run from a download; nothing in it ran. "
        "Take the weights alone: a state dict, or safetensors"
    )


def _named(state: dict[str, Tensor], path: Path) -> Weights:
    """Weights under the names of the network alone: what the `robustness` library wraps around it goes, its normaliser beside them."""
    if longest := max((len(name) for name in state if len(name) > LONGEST_NAME), default=0):
        raise RunError(f"{path}: a tensor has a name of {longest:,} characters; allowed: up to {LONGEST_NAME:,}")
    for name, tensor in state.items():
        if problem := _problem_of(name, tensor):
            raise RunError(f"{path}: the tensor {name} {problem}")
    state = _without(("module.", "base_model."), {name.removeprefix("module."): tensor for name, tensor in state.items()})
    mean, std = (_moment(state, name) for name in ("mean", "std"))
    if (mean is None) != (std is None) or any(len(moment or "rgb") != 3 for moment in (mean, std)) or min(std or [1]) <= 0:
        raise RunError(f"{path}: normalises with mean {mean} and std {std}; allowed: three numbers each, those of std above 0")
    state = {name: tensor for name, tensor in state.items() if not name.startswith(NORMALISERS)}
    return Weights(_without(WRAPPERS, state), mean, std)


def _without(wrappers: tuple[str, ...], state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The tensors without what begins all their names, as often as it does."""
    while wrapper := next((each for each in wrappers if state and all(name.startswith(each) for name in state)), None):
        state = {name.removeprefix(wrapper): tensor for name, tensor in state.items()}
    return state


def _problem_of(name: str, tensor: Tensor) -> str | None:
    """Why a network with such a tensor would compute nothing of use; None where it may."""
    if tensor.is_complex():
        return f"holds complex numbers ({tensor.dtype}); allowed: real numbers"
    if not tensor.float().isfinite().all():  # as networks compute in float32
        return "holds values that are no numbers, infinite or beyond float32; allowed: finite weights"
    if name.endswith("running_var") and (tensor < 0).any():
        return "holds variances below 0; allowed: numbers from 0"
    return None


def _moment(state: dict[str, Tensor], name: str) -> list[float] | None:
    """The mean or std per channel of a file's normaliser; of more values than channels the first few, which are refused afterwards."""
    found = (state.get(f"{place}{name}") for place in ("normalizer.new_", "attacker.normalize.new_", "normalize.", "normalise."))
    values = next((values for values in found if values is not None), None)
    return None if values is None else values.flatten()[:4].tolist()
