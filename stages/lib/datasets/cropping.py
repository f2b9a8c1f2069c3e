"""Random changes of training images, by their name in the settings: crops, mirrored or not, as networks are usually trained, or the
published ones of Utrera et al. (`augmentation`); a whole batch at once, on the device where it lies.

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
from stages.lib.datasets.whole import Whole

AREA, ASPECT = (0.08, 1.0), (3 / 4, 4 / 3)  # area of the crop over that of the image; its width over its height
TRIES = 10  # sizes that are drawn for a crop, of which the first that the image has room for is taken


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

    def to(self, device: torch.device) -> "Shifts":
        return Shifts(self.shift.to(device), self.flip.to(device))

    def apply(self, x: np.ndarray | Tensor | Whole, device: torch.device) -> Tensor:
        """The crops of images as they are stored, uint8 [n, side, side, 1 or 3], in the same shape, on the device."""
        stored = x if isinstance(x, Tensor) else torch.from_numpy(np.array(x))
        channels_first = stored.to(device, non_blocking=True).permute(0, 3, 1, 2)
        shift, flip = (drawn.to(device, non_blocking=True) for drawn in (self.shift, self.flip))
        return augmentation.crop_and_flip(channels_first, shift, flip).permute(0, 2, 3, 1)


@dataclass(frozen=True)
class Crops:
    """For each of n images: sizes and place of a crop, and whether it is mirrored.

    Of a square image the first size counts, cut to the image. Of whole images of any shape, `within` takes the first size that the image
    has room for.
    """

    tried: Tensor  # float [n, 1 or more, 2]: width, height, over the side of a square of the image's area
    place: Tensor  # float [n, 2] in [0, 1): left, top, over what the crop leaves of the image's sides
    flip: Tensor  # bool [n]

    @property
    def size(self) -> Tensor:
        """Width and height of the crops of square images, float [n, 2], in units of the image's side."""
        return self.tried[:, 0].clamp_max(1)

    @property
    def corner(self) -> Tensor:
        """Left and top of the crops of square images, float [n, 2], in units of the image's side."""
        return self.place * (1 - self.size)

    def __getitem__(self, rows: Tensor) -> "Crops":
        return Crops(self.tried[rows], self.place[rows], self.flip[rows])

    def to(self, device: torch.device) -> "Crops":
        return Crops(self.tried.to(device), self.place.to(device), self.flip.to(device))

    def within(self, sides: np.ndarray) -> np.ndarray:
        """The crops of images of these sides, int64 [n, 4]: left, top, right, bottom in pixels, as torchvision's RandomResizedCrop.

        Where none of the sizes fits, the crop is the largest one in the middle of an aspect that is drawn.

        Args:
            sides: int64 [n, 2], width and height of each image.
        """
        sizes = np.round(self.tried.double().numpy() * np.sqrt(sides.prod(1))[:, None, None]).astype(np.int64)
        fits = ((sizes > 0) & (sizes <= sides[:, None])).all(2)
        size = np.where(fits.any(1)[:, None], sizes[np.arange(len(sides)), fits.argmax(1)], _largest(sides))
        place = np.where(fits.any(1)[:, None], np.floor(self.place.double().numpy() * (sides - size + 1)), (sides - size) // 2)
        corner = place.astype(np.int64)
        return np.concatenate([corner, corner + size], 1)

    def apply(self, x: Tensor) -> Tensor:
        """The crops of x, up-scaled to the whole, as the function `apply` makes them."""
        return apply(x, self)


Changes = Crops | Shifts | augmentation.Drawn


def draw(kind: str, n: int, seed: int, epoch: int) -> Changes | None:
    """The changes of n images in one epoch; they are drawn on the CPU, so that they are the same on every device.

    Args:
        kind: `resized_crop`, as for ImageNet; `crop_flip`, as for CIFAR; `published`, as `augmentation` has them; `none`.
    """
    if kind == "none":
        return None
    if kind == "published":
        return augmentation.draw(n, seed, epoch)
    generator = torch.Generator().manual_seed((seed << 16) + epoch + (1 << 62))  # not the stream that shuffles the images
    return Shifts.drawn(n, generator) if kind == "crop_flip" else _crops(n, generator)


def stored(x: Tensor | np.ndarray | Whole, rows: Tensor) -> Tensor | np.ndarray | Whole:
    """Some rows (int64, on the CPU) of images as they are stored, for `prepare`; whole images are not cut to squares."""
    if isinstance(x, Tensor):
        return x[rows]
    return x.only(rows.numpy()) if isinstance(x, Whole) else x[rows.numpy()]


def prepare(
    x: np.ndarray | Tensor | Whole, device: torch.device, size: int | None, drawn: Changes | None, resolution: int | None = None,
    fused: bool = False,
) -> Tensor:  # fmt: skip
    """Images as a network takes them, as `pixels.prepare` makes them of uint8 [n, H, W, 1 or 3], each changed as was drawn for it.

    Of whole images, crops of any size are parts of the whole; all else is of their central squares. A crop of any size of an image that
    has fewer pixels than the network takes is up-scaled once, from these pixels. `fused`: as `augmentation.apply` takes it.
    """
    if isinstance(x, Whole) and isinstance(drawn, Crops):
        x, drawn, resolution = x.at(resolution).crops(np.arange(len(x)), drawn, size), None, None
    if isinstance(drawn, Shifts):
        return pixels.prepare(drawn.apply(x, device), device, size, resolution)
    if isinstance(drawn, Crops) and size and (resolution or x.shape[1]) < size:
        return apply(pixels.prepare(x, device, resolution), drawn, size)
    batch = pixels.prepare(x, device, size, resolution)
    if isinstance(drawn, augmentation.Drawn):
        return augmentation.apply(batch, drawn, fused)
    return batch if drawn is None else drawn.apply(batch)


def _crops(n: int, generator: torch.Generator) -> Crops:
    area = torch.empty(n).uniform_(*AREA, generator=generator)
    aspect = torch.empty(n).uniform_(*torch.tensor(ASPECT).log().tolist(), generator=generator).exp()
    place, flip = torch.rand(n, 2, generator=generator), torch.rand(n, generator=generator) < 0.5
    further = torch.rand(n, TRIES - 1, 2, generator=generator)  # drawn last, so that crops of square images are those of all versions
    areas = torch.cat([area[:, None], AREA[0] + (AREA[1] - AREA[0]) * further[..., 0]], 1)
    aspects = torch.cat([aspect[:, None], ASPECT[0] * (ASPECT[1] / ASPECT[0]) ** further[..., 1]], 1)
    return Crops(torch.stack([(areas * aspects).sqrt(), (areas / aspects).sqrt()], 2), place, flip)


def _largest(sides: np.ndarray) -> np.ndarray:
    """Width and height of the largest crop of each image, whose sides are int64 [n, 2], that has an aspect that is drawn."""
    width, height = sides.T
    return np.stack([np.minimum(width, np.round(height * ASPECT[1])), np.minimum(height, np.round(width / ASPECT[0]))], 1).astype(np.int64)


def apply(x: Tensor, crops: Crops, side: int | None = None) -> Tensor:
    """Each crop of x, float [n, C, H, W], up-scaled bilinearly to [n, C, side, side], or to the size of the image."""
    size, corner = crops.size.to(x), crops.corner.to(x)
    centre = 2 * corner + size - 1  # in coordinates in which an image reaches from -1 to 1
    mirror = torch.where(crops.flip.to(x.device), -1.0, 1.0).to(x.dtype)
    zero = torch.zeros_like(mirror)
    rows = [torch.stack([size[:, 0] * mirror, zero, centre[:, 0]], 1), torch.stack([zero, size[:, 1], centre[:, 1]], 1)]
    shape = [*x.shape[:2], *((side, side) if side else x.shape[2:])]
    grid = affine_grid(torch.stack(rows, 1), shape, align_corners=False)
    return grid_sample(x, grid, mode="bilinear", padding_mode="border", align_corners=False)
