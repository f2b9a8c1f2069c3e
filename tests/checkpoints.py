"""Miniature checkpoints in each format in which weights are published, made as their authors make them."""

import io
import pickle
import re
import zipfile
from pathlib import Path

import torch
from safetensors.torch import save
from torch import Tensor, nn


def torch_bytes(content: object, zipped: bool = True) -> bytes:
    buffer = io.BytesIO()
    torch.save(content, buffer, _use_new_zipfile_serialization=zipped)
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


def with_a_pickled_lambda() -> bytes:
    """What dill makes of a function among the values: a call of `dill._dill._create_function`, in a file of torch."""
    source = io.BytesIO(torch_bytes({"model": {"module.model.fc.weight": torch.zeros(2)}}))
    code = b"\x80\x02}q\x00X\x06\x00\x00\x00lambdaq\x01cdill._dill\n_create_function\nq\x02)Rq\x03s."
    changed = io.BytesIO()
    with zipfile.ZipFile(source) as archive, zipfile.ZipFile(changed, "w") as out:
        for name in archive.namelist():
            out.writestr(name, code if name.endswith("data.pkl") else archive.read(name))
    return changed.getvalue()


def bare_pickle(content: object, protocol: int = 4) -> bytes:
    return pickle.dumps(content, protocol)
