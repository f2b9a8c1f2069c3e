"""The published augmentation of colour targets, of a whole batch at once, on the device where it lies.

Random crop of the image padded by 4 pixels, horizontal flip, jitter of brightness, contrast and saturation by up to a
quarter, each image in an order of its own, and a rotation by up to 2 degrees: the transforms of the code that Utrera et al.
(2021) released, in their order. What is drawn comes from a generator on the CPU, so it is the same on every device.
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import affine_grid, grid_sample, pad

PADDING, JITTER, DEGREES = 4, 0.25, 2.0
GREY = (0.2989, 0.587, 0.114)  # weights of red, green and blue (ITU-R BT.601)


@dataclass(frozen=True)
class Drawn:
    """What is done to each of n images."""

    shift: Tensor  # int64 [n, 2]: rows and columns of the padded image that the crop leaves out
    flip: Tensor  # bool [n]
    factor: Tensor  # float [n, 3]: of brightness, contrast and saturation
    order: Tensor  # int64 [n, 3]: in which these three come
    degrees: Tensor  # float [n], counter-clockwise

    def __getitem__(self, rows: Tensor) -> "Drawn":
        return Drawn(*(part[rows] for part in (self.shift, self.flip, self.factor, self.order, self.degrees)))


def draw(n: int, seed: int, epoch: int) -> Drawn:
    """For n images in one epoch."""
    generator = torch.Generator().manual_seed((seed << 16) + epoch)
    return Drawn(
        shift=torch.randint(0, 2 * PADDING + 1, (n, 2), generator=generator),
        flip=torch.rand(n, generator=generator) < 0.5,
        factor=1 + JITTER * (2 * torch.rand(n, 3, generator=generator) - 1),
        order=torch.rand(n, 3, generator=generator).argsort(1),
        degrees=DEGREES * (2 * torch.rand(n, generator=generator) - 1),
    )


def apply(x: Tensor, drawn: Drawn) -> Tensor:
    """x: float [n, 3, H, W] in [0, 1]; returns the same shape and range."""
    drawn = Drawn(*(part.to(x.device) for part in vars(drawn).values()))
    x = _crop_and_flip(x, drawn.shift, drawn.flip)
    for turn in range(3):
        for operation, change in enumerate((_brightness, _contrast, _saturation)):
            rows = (drawn.order[:, turn] == operation).nonzero()[:, 0]
            x[rows] = change(x[rows], drawn.factor[rows, operation].view(-1, 1, 1, 1)).clamp_(0, 1)
    return _rotate(x, drawn.degrees)


def _crop_and_flip(x: Tensor, shift: Tensor, flip: Tensor) -> Tensor:
    n, _, height, width = x.shape
    rows = shift[:, :1] + torch.arange(height, device=x.device)
    columns = torch.arange(width, device=x.device).expand(n, -1)
    columns = shift[:, 1:] + torch.where(flip[:, None], width - 1 - columns, columns)
    image = torch.arange(n, device=x.device)[:, None, None]
    return pad(x, (PADDING,) * 4).permute(0, 2, 3, 1)[image, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)


def _grey(x: Tensor) -> Tensor:  # [n, 3, H, W] -> [n, 1, H, W]
    return (x * x.new_tensor(GREY).view(1, 3, 1, 1)).sum(1, keepdim=True)


def _brightness(x: Tensor, factor: Tensor) -> Tensor:
    return x * factor


def _contrast(x: Tensor, factor: Tensor) -> Tensor:
    return x * factor + (1 - factor) * _grey(x).mean((2, 3), keepdim=True)


def _saturation(x: Tensor, factor: Tensor) -> Tensor:
    return x * factor + (1 - factor) * _grey(x)


def _rotate(x: Tensor, degrees: Tensor) -> Tensor:
    """About the centre, to the nearest pixel, zeros where nothing was."""
    angle = torch.deg2rad(degrees).to(x.dtype)
    sine, cosine, zero = angle.sin(), angle.cos(), torch.zeros_like(angle)
    turn = torch.stack([torch.stack([cosine, -sine, zero], 1), torch.stack([sine, cosine, zero], 1)], 1)  # [n, 2, 3]
    grid = affine_grid(turn, list(x.shape), align_corners=False)
    return grid_sample(x, grid, mode="nearest", padding_mode="zeros", align_corners=False)
