"""Miniature checkpoints in each format in which weights are published, made as their authors make them."""

import io
import pickle
import re
import zipfile
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import torch
from safetensors.torch import save
from torch import Tensor, nn


def torch_bytes(content: object, zipped: bool = True, pickler: ModuleType = pickle) -> bytes:
    buffer = io.BytesIO()
    torch.save(content, buffer, pickle_module=pickler, _use_new_zipfile_serialization=zipped)
    return buffer.getvalue()


def torchvision_format(network: nn.Module) -> bytes:
    """A bare state dict."""
    return torch_bytes(network.state_dict())


def as_older_torchvision(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """As torchvision published it before torch 0.4.1: no count of batches, and dots in the names inside a dense layer."""
    dotted = {re.sub(r"(denselayer\d+\.(?:norm|conv))([12])\.", r"\1.\2.", name): tensor for name, tensor in state.items()}
    return {name: tensor for name, tensor in dotted.items() if not name.endswith("num_batches_tracked")}


def safetensors_format(network: nn.Module) -> bytes:
    return save(network.state_dict())


def parallel_format(network: nn.Module) -> bytes:
    """A state dict of DataParallel, under `state_dict`."""
    return torch_bytes({"epoch": 3, "state_dict": {f"module.{name}": tensor for name, tensor in network.state_dict().items()}})


def robustness_format(
    network: nn.Module, mean: list[float], std: list[float], extra: str = "", key: str = "model", zipped: bool = True
) -> bytes:
    """As the `robustness` library writes it: network and attacker's copy, normalisers, optimiser, schedule, epoch."""
    moments = {"new_mean": torch.tensor(mean).view(3, 1, 1), "new_std": torch.tensor(std).view(3, 1, 1)}
    state: dict[str, Tensor] = {f"module.normalizer.{name}": tensor for name, tensor in moments.items()}
    for part in ("model", "attacker.model"):
        state |= {f"module.{part}.{extra}{name}": tensor for name, tensor in network.state_dict().items()}
    state |= {f"module.attacker.normalize.{name}": tensor for name, tensor in moments.items()}
    optimiser = torch.optim.SGD(network.parameters(), lr=0.1, momentum=0.9)
    schedule = torch.optim.lr_scheduler.StepLR(optimiser, 30).state_dict()
    return torch_bytes({key: state, "optimizer": optimiser.state_dict(), "schedule": schedule, "epoch": 90}, zipped)


class _Touch:
    """Unpickled by the ordinary unpickler, it creates a file."""

    def __init__(self, path: Path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


def malicious(path: Path, zipped: bool = True) -> bytes:
    """A checkpoint that would create `path` when an ordinary unpickler reads it."""
    return torch_bytes({"model": {"module.model.fc.weight": torch.zeros(2)}, "epoch": _Touch(path)}, zipped)


def bare_pickle(content: object, protocol: int = 4) -> bytes:
    return pickle.dumps(content, protocol)


def rewritten(content: bytes, change: Callable[[str, bytes], bytes], compression: int = zipfile.ZIP_STORED) -> bytes:
    """A zip of torch whose files, without the archive's name before them, are changed; an older file as one without a name."""
    if not content.startswith(b"PK"):
        return change("", content)
    changed = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as archive, zipfile.ZipFile(changed, "w", compression) as out:
        for name in archive.namelist():
            out.writestr(name, change(name.partition("/")[2], archive.read(name)))
    return changed.getvalue()


HERE = "put the opcodes here"


def with_opcodes(state: dict, opcodes: bytes, zipped: bool) -> bytes:
    """A checkpoint with {"model": state} and, beside it, what these opcodes of pickle make; where the state has `HERE`, they make that."""
    beside = {} if HERE in (*state, *state.values()) else {"beside": HERE}
    placeholder = re.compile(rb"X" + len(HERE).to_bytes(4, "little") + HERE.encode() + rb"(q.|r....)", re.DOTALL)
    return rewritten(torch_bytes({"model": state, **beside}, zipped), lambda name, held: placeholder.sub(lambda _: opcodes, held))


class Call:
    """Unpickled by the ordinary unpickler, it is what a function returns, after `state` has been set on it."""

    def __init__(self, function: Callable, *arguments: object, state: object = None):
        self.function, self.arguments, self.state = function, arguments, state

    def __call__(self) -> None:
        """So that one call can be the function of another; pickle asks for that alone."""

    def __reduce__(self):
        return (self.function, self.arguments) if self.state is None else (self.function, self.arguments, self.state)
