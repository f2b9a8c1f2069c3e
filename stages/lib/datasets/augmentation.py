"""The published augmentation of colour targets, of a whole batch at once, on the device where it lies.

Random crop of the image padded by 4 pixels, horizontal flip, jitter of brightness, contrast and saturation by up to a
quarter, each image in an order of its own, and a rotation by up to 2 degrees: the transforms of the code that Utrera et al.
(2021) released, in their order. What is drawn comes from a generator on the CPU, so it is the same on every device.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor
from torch.nn.functional import grid_sample, pad

PADDING, JITTER, DEGREES = 4, 0.25, 2.0
GREY = (0.2989, 0.587, 0.114)  # weights of red, green and blue (ITU-R BT.601)
BRIGHTNESS, CONTRAST, SATURATION = range(3)
CACHED = 8  # images that a core works on at a time, so that its intermediate results stay in its cache


@dataclass(frozen=True)
class Drawn:
    """The changes that are drawn for each of n images."""

    shift: Tensor  # int64 [n, 2]: rows and columns of the padded image that the crop leaves out
    flip: Tensor  # bool [n]
    factor: Tensor  # float [n, 3]: of brightness, contrast and saturation
    order: Tensor  # int64 [n, 3]: in which these three come
    degrees: Tensor  # float [n], counter-clockwise

    def __getitem__(self, rows: Tensor | slice) -> "Drawn":
        return Drawn(*(values[rows] for values in vars(self).values()))

    def to(self, device: torch.device) -> "Drawn":
        return Drawn(*(values.to(device) for values in vars(self).values()))


def draw(n: int, seed: int, epoch: int) -> Drawn:
    """The changes of n images in one epoch; they follow from the seed, the epoch and n alone."""
    generator = torch.Generator().manual_seed((seed << 16) + epoch)
    return Drawn(
        shift=torch.randint(0, 2 * PADDING + 1, (n, 2), generator=generator),
        flip=torch.rand(n, generator=generator) < 0.5,
        factor=1 + JITTER * (2 * torch.rand(n, 3, generator=generator) - 1),
        order=torch.rand(n, 3, generator=generator).argsort(1),
        degrees=DEGREES * (2 * torch.rand(n, generator=generator) - 1),
    )


def apply(x: Tensor, drawn: Drawn, fused: bool = False) -> Tensor:
    """The images, changed as drawn; x: float [n, 3, side, side] in [0, 1]. Returns the same shape and range, channels last in memory.

    Args:
        fused: whether torch compiles the operations into few, which takes seconds once.
    """
    drawn = drawn.to(x.device)
    if fused:
        return _compiled()(x, drawn).contiguous(memory_format=torch.channels_last)
    out, step = torch.empty_like(x, memory_format=torch.channels_last), len(x) if x.is_cuda else CACHED
    for i in range(0, len(x), step):
        out[i : i + step] = _changed(x[i : i + step], drawn[i : i + step])
    return out


@cache
def _compiled() -> Callable[[Tensor, Drawn], Tensor]:
    return torch.compile(_changed)


def _changed(x: Tensor, drawn: Drawn) -> Tensor:
    x = crop_and_flip(x, drawn.shift, drawn.flip)
    for operation in drawn.order.T:
        _jitter(x, operation, drawn.factor.gather(1, operation[:, None])[:, 0])
    return _rotate(x, drawn.degrees)


def crop_and_flip(x: Tensor, shift: Tensor, flip: Tensor) -> Tensor:
    """A crop of each padded image, [n, C, side, side], mirrored where `flip` says so, in a new tensor, channel by channel in memory."""
    n, channels, _, side = x.shape
    wide = side + 2 * PADDING
    image, step = torch.arange(n, device=x.device), torch.arange(side, device=x.device)
    rows = image[:, None] * wide + shift[:, :1] + step
    columns = shift[:, 1:] + torch.where(flip[:, None], side - 1 - step, step)
    taken = rows[:, :, None] * wide + columns[:, None, :]  # [n, side, side], in the padded pixels of all images
    padded = pad(x.permute(0, 2, 3, 1), (0, 0, *(PADDING,) * 4)).reshape(-1, channels)
    return padded.index_select(0, taken.flatten()).view(n, side, side, channels).permute(0, 3, 1, 2).contiguous()


def _jitter(x: Tensor, operation: Tensor, factor: Tensor) -> None:
    """Change x [n, 3, side, side] in place to `factor * x + (1 - factor) * y`, clipped to [0, 1].

    y is black for brightness, the mean grey of the image for contrast, and the image in grey for saturation.
    """
    n, side = len(x), x.shape[-1]
    grey = torch.matmul(x.new_tensor(GREY), x.view(n, 3, -1)).view(n, 1, side, side)
    factor, operation = factor.to(x.dtype).view(-1, 1, 1, 1), operation.view(-1, 1, 1, 1)
    mean = grey.mean((2, 3), keepdim=True) * (1 - factor) * (operation == CONTRAST)
    x.mul_(factor).add_(grey.mul_((1 - factor) * (operation == SATURATION)).add_(mean)).clamp_(0, 1)


def _rotate(x: Tensor, degrees: Tensor) -> Tensor:
    """The images [n, 3, side, side], each turned about its centre; every pixel is the nearest one of the image, or 0 outside it."""
    angle = torch.deg2rad(degrees).to(x.dtype).view(-1, 1, 1)
    along = (2 * torch.arange(x.shape[-1], device=x.device, dtype=x.dtype) + 1) / x.shape[-1] - 1  # centres of pixels, in [-1, 1]
    right, down = along[None, None, :], along[None, :, None]
    grid = torch.stack([angle.cos() * right - angle.sin() * down, angle.sin() * right + angle.cos() * down], -1)
    return grid_sample(x, grid, mode="nearest", padding_mode="zeros", align_corners=False)
