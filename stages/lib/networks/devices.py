"""Which device a network is on, and which one it is best put on."""

import os
from itertools import chain

import torch
from torch import nn


def best_device() -> torch.device:
    """A GPU where there is one: in one of several processes, its own."""
    return torch.device("cuda", local_rank()) if torch.cuda.is_available() else torch.device("cpu")


def device_of(network: nn.Module) -> torch.device:
    return next(chain(network.parameters(), network.buffers())).device


def launched() -> bool:
    """Whether torchrun started this process."""
    return "RANK" in os.environ and "WORLD_SIZE" in os.environ


def local_rank() -> int:
    """Which of its machine's processes this is; in a process of its own, the number of the GPU that it uses already."""
    return int(os.environ.get("LOCAL_RANK", "0")) if launched() else torch.cuda.current_device() if torch.cuda.is_initialized() else 0


def precision(device: torch.device, mixed: bool) -> torch.dtype | None:
    """What matrices are multiplied in, where not in float32: bfloat16 on a GPU that has it."""
    return torch.bfloat16 if mixed and device.type == "cuda" and torch.cuda.is_bf16_supported() else None
