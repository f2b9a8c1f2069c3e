"""The smallest move of an image, in a norm, to a hyperplane within the range of pixels (Croce & Hein, ICML 2020 (FAB), eq. 8)."""

import torch
from torch import Tensor

from stages.lib.attacks.attack import PIXELS

SLOWEST = 1e-12  # so that a pixel of no weight reaches its bound after all others


def move_to(x: Tensor, weight: Tensor, value: Tensor, order: float) -> Tensor:  # [n, d], [n, d], [n] -> [n, d]
    """The smallest move m with <weight, m> = -value for which x + m is in [0, 1]; where there is none, the move that comes nearest.

    Pixel i moves by min(|weight_i|^(1 / (p - 1)) * t, its room), with one t for all pixels of an image, as the conditions of Karush,
    Kuhn and Tucker say for the norm of order p. What is gained rises with t, in pieces that are linear between the t at which pixels
    reach their bounds. So t is found exactly, by sorting.

    Args:
        value: of the linear function at x; the hyperplane is where it is 0.
        order: p, above 1.
    """
    low, high = PIXELS
    weight, value = weight.double(), value.double()
    direction = -value.sign()[:, None] * weight.sign()
    room = torch.where(direction > 0, high - x, x - low).double()
    speed = weight.abs() ** (1 / (order - 1))
    until, places = (room / speed.clamp_min(SLOWEST)).sort(1)  # the t at which each pixel reaches its bound
    gained = (weight.abs() * room).gather(1, places).cumsum(1)  # by the pixels that reached it, up to each
    rate = (weight.abs() * speed).gather(1, places)
    remaining = rate.flip(1).cumsum(1).flip(1)  # the rate of gain just before each of these t; the pixel itself belongs to it
    reached = gained + until * (remaining - rate)
    place = torch.searchsorted(reached, value.abs()[:, None]).clamp_max(x.shape[1] - 1)
    before = gained.gather(1, place) - (weight.abs() * room).gather(1, places).gather(1, place)
    t = (value.abs()[:, None] - before) / remaining.gather(1, place).clamp_min(SLOWEST)
    return (direction * torch.minimum(speed * t.clamp_min(0), room)).to(x)
