"""Images on their way to a network: from uint8 as they lie on disk to floats in [0, 1] at the size that it takes."""

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import interpolate

CPU = torch.device("cpu")


def prepare(x: np.ndarray | Tensor, device: torch.device = CPU, size: int | None = None, resolution: int | None = None) -> Tensor:
    """uint8 [batch, H, W, 1 or 3] to float [batch, 3, size, size] in [0, 1], channels last in memory, as it lay on disk.

    Args:
        size: side in pixels that the network takes; None leaves the images at the size that they have.
        resolution: side to which they are reduced first, so that finer detail is lost (Utrera et al. 2021, Table 2); None keeps it.
    """
    batch = x if isinstance(x, Tensor) else torch.from_numpy(np.array(x))
    batch = batch.to(device, non_blocking=True).permute(0, 3, 1, 2)
    if resolution:
        size = size or batch.shape[-1]
        batch = resize(batch, resolution)
    if size:
        batch = resize(batch, size)
    return batch.expand(-1, 3, -1, -1).to(memory_format=torch.channels_last).float().div_(255)


def resize(x: Tensor, side: int) -> Tensor:
    """Bilinear with antialiasing, [batch, C, H, W] in 0 to 255: along rows, then columns, to whole numbers, as Pillow does it."""
    for shape in ((x.shape[-2], side), (side, side)):
        if tuple(x.shape[-2:]) != shape:
            x = interpolate(x.float(), shape, mode="bilinear", align_corners=False, antialias=True).add_(0.5).floor_()
    return x
