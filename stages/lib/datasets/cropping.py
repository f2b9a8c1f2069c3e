"""Random crops of images, mirrored or not, as networks are usually trained: a whole batch at once, on the device where it lies.

For ImageNet, crops of any size, up-scaled to that of the image; for CIFAR, crops of the image's own size, with a black margin. The
latter are cut from images as they are stored, which are up-scaled afterwards: a margin of 4 pixels is a large part of 32, and of 224 a
small one.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import affine_grid, grid_sample

from stages.lib.datasets import augmentation, pixels

AREA, ASPECT = (0.08, 1.0), (3 / 4, 4 / 3)  # area of the crop over that of the image; its width over its height


@dataclass(frozen=True)
class Shifts:
    """For each of n images, padded by 4 pixels: the place of a crop of the image's own size, and whether it is mirrored."""

    shift: Tensor  # int64 [n, 2]: rows and columns of the padded image above and left of the crop
    flip: Tensor  # bool [n]

    @classmethod
    def drawn(cls, n: int, generator: torch.Generator) -> "Shifts":
        shift = torch.randint(0, 2 * augmentation.PADDING + 1, (n, 2), generator=generator)
        return cls(shift, torch.rand(n, generator=generator) < 0.5)

    def __getitem__(self, rows: Tensor) -> "Shifts":
        return Shifts(self.shift[rows], self.flip[rows])

    def apply(self, x: np.ndarray | Tensor, device: torch.device) -> Tensor:
        """The crops of images as they are stored, uint8 [n, side, side, 1 or 3], in the same shape, on the device."""
        stored = x if isinstance(x, Tensor) else torch.from_numpy(np.array(x))
        channels_first = stored.to(device, non_blocking=True).permute(0, 3, 1, 2)
        shift, flip = (drawn.to(device, non_blocking=True) for drawn in (self.shift, self.flip))
        return augmentation.crop_and_flip(channels_first, shift, flip).permute(0, 2, 3, 1)


@dataclass(frozen=True)
class Crops:
    """For each of n images: size and place of a crop, in units of the image's sides, and whether it is mirrored."""

    size: Tensor  # float [n, 2]: width, height
    corner: Tensor  # float [n, 2]: left, top
    flip: Tensor  # bool [n]

    def __getitem__(self, rows: Tensor) -> "Crops":
        return Crops(self.size[rows], self.corner[rows], self.flip[rows])

    def apply(self, x: Tensor) -> Tensor:
        """The crops of x, up-scaled to the whole, as the function `apply` makes them."""
        return apply(x, self)


def draw(kind: str, n: int, seed: int, epoch: int) -> Crops | Shifts | None:
    """The crops of n images in one epoch; they are drawn on the CPU, so that they are the same on every device.

    Args:
        kind: `resized_crop`, as for ImageNet; `crop_flip`, as for CIFAR; `none`.
    """
    if kind == "none":
        return None
    generator = torch.Generator().manual_seed((seed << 16) + epoch + (1 << 62))  # not the stream that shuffles the images
    return Shifts.drawn(n, generator) if kind == "crop_flip" else _crops(n, generator)


def prepare(x: np.ndarray | Tensor, device: torch.device, size: int | None, drawn: Crops | Shifts | None) -> Tensor:
    """Images as a network takes them, as `pixels.prepare` makes them of uint8 [n, H, W, 1 or 3], each in the crop that was drawn for it."""
    if isinstance(drawn, Shifts):
        return pixels.prepare(drawn.apply(x, device), device, size)
    batch = pixels.prepare(x, device, size)
    return batch if drawn is None else drawn.apply(batch)


def _crops(n: int, generator: torch.Generator) -> Crops:
    area = torch.empty(n).uniform_(*AREA, generator=generator)
    aspect = torch.empty(n).uniform_(*torch.tensor(ASPECT).log().tolist(), generator=generator).exp()
    size = torch.stack([(area * aspect).sqrt(), (area / aspect).sqrt()], 1).clamp_max(1)
    corner = torch.rand(n, 2, generator=generator) * (1 - size)
    return Crops(size, corner, torch.rand(n, generator=generator) < 0.5)


def apply(x: Tensor, crops: Crops) -> Tensor:
    """Each crop of x, float [n, C, H, W], up-scaled bilinearly to the size of the image; returns the same shape."""
    size, corner = crops.size.to(x), crops.corner.to(x)
    centre = 2 * corner + size - 1  # in coordinates in which an image reaches from -1 to 1
    mirror = torch.where(crops.flip.to(x.device), -1.0, 1.0).to(x.dtype)
    zero = torch.zeros_like(mirror)
    rows = [torch.stack([size[:, 0] * mirror, zero, centre[:, 0]], 1), torch.stack([zero, size[:, 1], centre[:, 1]], 1)]
    grid = affine_grid(torch.stack(rows, 1), list(x.shape), align_corners=False)
    return grid_sample(x, grid, mode="bilinear", padding_mode="border", align_corners=False)
