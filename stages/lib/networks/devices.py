"""Which device a network is on, and which one it is best put on."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import chain

import torch
from torch import nn

from stages.lib.machine import Precision, launched


def best_device(precision: Precision = False) -> torch.device:
    """The device that this process should compute on: a GPU where there is one, and of several processes each its own.

    Args:
        precision: of what this process computes on a GPU from here on. Products of float32 are in float32, convolutions too, for which
            torch would take TF32 by itself; in TF32 all of them where that is asked for.
    """
    if not torch.cuda.is_available():
        return torch.device("cpu")
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = precision == "tf32"
    return torch.device("cuda", local_rank())


@contextmanager
def threads(device: torch.device, count: int) -> Iterator[None]:
    """So many threads of a processor, whatever this process had; sums are then taken in the same order on a machine with more cores.

    A process that torchrun started keeps those that it has.
    """
    before = torch.get_num_threads()
    if device.type == "cpu" and not launched():
        torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def device_of(network: nn.Module) -> torch.device:
    return next(chain(network.parameters(), network.buffers())).device


def local_rank() -> int:
    """The number of this process among those of its machine; in a process that runs alone, the number of the GPU that it uses already."""
    return int(os.environ.get("LOCAL_RANK", "0")) if launched() else torch.cuda.current_device() if torch.cuda.is_initialized() else 0


def lower_precision(device: torch.device, precision: Precision) -> torch.dtype | None:
    """The type in which matrices are multiplied where that is not float32: bfloat16 on a GPU or a processor that multiplies it."""
    return torch.bfloat16 if precision is True and multiplies_bfloat16(device) else None


def multiplies_bfloat16(device: torch.device) -> bool:
    """Whether the device has instructions for products of bfloat16, without which they would take longer than those of float32."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported()
    can = getattr(torch.cpu, "get_capabilities", dict)()  # older versions of torch do not say it
    return bool(can.get("avx512_bf16") or can.get("amx_bf16"))
