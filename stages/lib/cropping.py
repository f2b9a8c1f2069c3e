"""Random parts of images, mirrored or not, as networks are usually trained on ImageNet: a whole batch at once, on its device."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import affine_grid, grid_sample

AREA, ASPECT = (0.08, 1.0), (3 / 4, 4 / 3)  # of the part, over the image; its width over its height


@dataclass(frozen=True)
class Crops:
    """Of each of n images the part that is kept, in units of its sides, and whether it is mirrored."""

    size: Tensor  # float [n, 2]: width, height
    corner: Tensor  # float [n, 2]: left, top
    flip: Tensor  # bool [n]

    def __getitem__(self, rows: Tensor) -> "Crops":
        return Crops(self.size[rows], self.corner[rows], self.flip[rows])


def draw(n: int, seed: int, epoch: int) -> Crops:
    """For n images in one epoch, from a generator on the CPU, so that it is the same on every device."""
    generator = torch.Generator().manual_seed((seed << 16) + epoch + (1 << 62))  # not the stream that shuffles the images
    area = torch.empty(n).uniform_(*AREA, generator=generator)
    aspect = torch.empty(n).uniform_(*torch.tensor(ASPECT).log().tolist(), generator=generator).exp()
    size = torch.stack([(area * aspect).sqrt(), (area / aspect).sqrt()], 1).clamp_max(1)
    corner = torch.rand(n, 2, generator=generator) * (1 - size)
    return Crops(size, corner, torch.rand(n, generator=generator) < 0.5)


def apply(x: Tensor, crops: Crops) -> Tensor:
    """Each part up-scaled to the whole, bilinear: float [n, C, H, W] to the same shape."""
    size, corner = crops.size.to(x), crops.corner.to(x)
    centre = 2 * corner + size - 1  # where an image reaches from -1 to 1
    mirror = torch.where(crops.flip.to(x.device), -1.0, 1.0).to(x.dtype)
    zero = torch.zeros_like(mirror)
    rows = [torch.stack([size[:, 0] * mirror, zero, centre[:, 0]], 1), torch.stack([zero, size[:, 1], centre[:, 1]], 1)]
    grid = affine_grid(torch.stack(rows, 1), list(x.shape), align_corners=False)
    return grid_sample(x, grid, mode="bilinear", padding_mode="border", align_corners=False)
