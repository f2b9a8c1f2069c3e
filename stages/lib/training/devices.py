"""The device that a process computes on, and the precision that it multiplies in."""

import os

import torch


def launched() -> bool:
    """Whether torchrun started this process, as one of several."""
    return "RANK" in os.environ and "WORLD_SIZE" in os.environ


def local_rank() -> int:
    """Number of this process among those of its machine."""
    return int(os.environ.get("LOCAL_RANK", "0")) if launched() else torch.cuda.current_device() if torch.cuda.is_initialized() else 0


def best_device() -> torch.device:
    """A GPU where there is one: in one of several processes, its own."""
    return torch.device("cuda", local_rank()) if torch.cuda.is_available() else torch.device("cpu")


def precision(device: torch.device, mixed: bool) -> torch.dtype | None:
    """What matrices are multiplied in, where not in float32: bfloat16 on a GPU that has it."""
    return torch.bfloat16 if mixed and device.type == "cuda" and torch.cuda.is_bf16_supported() else None
