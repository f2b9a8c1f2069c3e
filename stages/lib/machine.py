"""The machine that computes: its cores, its GPUs, how exactly they multiply, and whether this process is one of several."""

import os
from pathlib import Path
from typing import Literal

Precision = bool | Literal["tf32"]  # of products: float32, TF32 where the device has it, or bfloat16 for true


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def gpus() -> int:
    """GPUs that this process may use; without NVIDIA's device files there is none, and torch is not imported to find out."""
    if not list(Path("/dev").glob("nvidia[0-9]*")):
        return 0
    import torch  # here, as it takes seconds to import

    return torch.cuda.device_count()


def launched() -> bool:
    """Whether torchrun started this process."""
    return "RANK" in os.environ and "WORLD_SIZE" in os.environ
