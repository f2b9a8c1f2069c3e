"""Images on their way to a network: from uint8 as they lie on disk to floats in [0, 1] at the size that it takes."""

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import interpolate

CPU = torch.device("cpu")


def prepare(x: np.ndarray | Tensor, device: torch.device = CPU, size: int | None = None, resolution: int | None = None) -> Tensor:
    """Images as a network takes them: uint8 [batch, H, W, 1 or 3] to float [batch, 3, size, size] in [0, 1].

    They stay channels last in memory, as on disk; a grey image becomes three equal channels.

    Args:
        size: side in pixels that the network takes; None leaves the images at the size that they have.
        resolution: side in pixels to which images are reduced first, which takes their finer detail (Utrera et al. 2021, Table 2);
            None keeps the detail.
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
    """Images of `side` x `side` pixels from x, [batch, C, H, W] in 0 to 255, by bilinear interpolation with antialiasing.

    As Pillow does it: first along the rows, then along the columns, each time rounded to whole numbers.
    """
    for shape in ((x.shape[-2], side), (side, side)):
        if tuple(x.shape[-2:]) != shape:
            x = interpolate(x.float(), shape, mode="bilinear", align_corners=False, antialias=True).add_(0.5).floor_()
    return x
