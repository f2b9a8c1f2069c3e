"""What the Square Attack tries: its first point and its next ones, within Linf and within L2 (Andriushchenko et al., ECCV 2020)."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from stages.lib.attacks.attack import PIXELS
from stages.lib.attacks.random_search import squares
from stages.lib.norms.l2 import lengths

TILES = 5  # a side, of the first point within L2
LEAST_SIDE = 3  # of a window within L2, whose sides are odd


@dataclass(frozen=True)
class Search:
    start: Callable[[Tensor, float], Tensor]  # images and eps to the first points
    propose: Callable[[Tensor, Tensor, float, float], Tensor]  # images, best points, eps and share of the area to the next points


def _stripes(x: Tensor, eps: float) -> Tensor:
    """Vertical stripes of +eps or -eps, in each channel by itself (Section 3.2)."""
    return (x + eps * _signs(x[:, :, :1])).clamp(*PIXELS)


def _recoloured(x: Tensor, best: Tensor, eps: float, share: float) -> Tensor:
    """A square of each image moved to +eps or -eps, in each channel by itself (Algorithm 2)."""
    return (x + (best - x + 2 * eps * squares(x, share)).clamp(-eps, eps)).clamp(*PIXELS)


def _tiled(x: Tensor, eps: float) -> Tensor:
    """A grid of 5 x 5 bumps with random signs, of length eps in all (Section 3.3)."""
    delta = torch.zeros_like(x)
    height, width = x.shape[2:]
    side = min(height, width) // TILES
    if not side:
        raise ValueError(f"images are {height} x {width} pixels; allowed for the Square Attack within L2: {TILES} a side or more")
    top, left = (height - side * TILES) // 2, (width - side * TILES) // 2
    for row in range(top, height - side + 1, side):
        for column in range(left, width - side + 1, side):
            delta[:, :, row : row + side, column : column + side] = _bumps(x, side)
    return (x + eps * delta / lengths(delta)).clamp(*PIXELS)


def _transferred(x: Tensor, best: Tensor, eps: float, share: float) -> Tensor:
    """The change in one window is given up, and added with a new bump to what is in another window (Algorithm 3).

    The two windows are at the same places in all images of a batch, as in the authors' code; signs differ.
    """
    delta, (channels, height, width) = best - x, x.shape[1:]
    side = max(LEAST_SIDE, round((share * height * width) ** 0.5)) // 2 * 2 + 1
    side = min(side, height, width)
    to, given_up = _window(height, width, side), _window(height, width, side)
    left = (eps**2 - lengths(delta) ** 2).clamp_min(0) / channels
    inside = torch.zeros_like(delta, dtype=torch.bool)
    inside[to], inside[given_up] = True, True
    budget = (left + _squared(delta * inside)).sqrt()
    bump = _bumps(x, side) + delta[to] / _squared(delta[to]).sqrt().clamp_min(1e-12)
    delta[given_up] = 0
    delta[to] = budget * bump / _squared(bump).sqrt().clamp_min(1e-12)
    return (x + eps * delta / lengths(delta)).clamp(*PIXELS)


SEARCHES = {"linf": Search(_stripes, _recoloured), "l2": Search(_tiled, _transferred)}


def _signs(like: Tensor) -> Tensor:
    return torch.sign(torch.rand_like(like) - 0.5)


def _squared(delta: Tensor) -> Tensor:  # [n, C, h, w] -> [n, C, 1, 1]
    return (delta**2).sum((2, 3), keepdim=True)


def _window(height: int, width: int, side: int) -> tuple[slice | type(Ellipsis), ...]:
    row, column = (int(torch.randint(extent - side + 1, ())) for extent in (height, width))
    return (..., slice(row, row + side), slice(column, column + side))


def _bumps(like: Tensor, side: int) -> Tensor:  # [n, C, side, side]
    """eta (eqs. 2 and 3): a hill and a valley beside it, of length 1, with a sign of its own in each channel; turned half of the time."""
    pair = torch.zeros(side, side, device=like.device, dtype=like.dtype)
    half = side // 2
    pair[:half], pair[half:] = _hill(pair[:half]), -_hill(pair[half:])
    pair = pair / pair.norm()
    signs = _signs(like[:, :, :1, :1])
    return signs * (pair.T if torch.rand(()) > 0.5 else pair)


def _hill(like: Tensor) -> Tensor:
    """Nested rectangles around the centre, the k-th of them lower by 1 / k^2 than the one inside it; of length 1."""
    rows, columns = (torch.arange(extent, device=like.device) - extent // 2 for extent in like.shape)
    ring = torch.maximum(rows.abs()[:, None], columns.abs()[None, :])
    steps = 1 / torch.arange(1, max(like.shape) // 2 + 2, device=like.device, dtype=like.dtype) ** 2
    heights = steps.flip(0).cumsum(0).flip(0)
    hill = heights[ring]
    return hill / hill.norm().clamp_min(1e-12)
