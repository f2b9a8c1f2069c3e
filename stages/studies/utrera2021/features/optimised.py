"""What `visualise` and `invert` have in common: networks as they compute, images as they begin, and who recognises them in the end."""

from collections.abc import Callable, Iterable

import numpy as np
import torch
from torch import Tensor, nn

from stages.lib.networks.devices import device_of
from stages.lib.networks.pretrained import Pretrained

BATCH = 128  # images that are optimised together
SIDE = 32  # pixels, at which outlines are compared
GREY = 0.5  # around which noise begins


def network_of(source: Pretrained, device: torch.device) -> nn.Sequential:
    """A source without gradients of its weights."""
    return source.network().requires_grad_(False).to(device, memory_format=torch.channels_last)


def noise(n: int, size: int, std: float, seed: int) -> Tensor:
    """Images [n, 3, size, size] of normal noise around grey; the same ones for all sources."""
    return (GREY + std * torch.randn((n, 3, size, size), generator=torch.Generator().manual_seed(seed))).clamp(0, 1)


def in_batches(n: int) -> Iterable[slice]:
    return (slice(first, min(first + BATCH, n)) for first in range(0, n, BATCH))


@torch.no_grad()
def each(function: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """What a function gives for all images of x, batch by batch."""
    return torch.cat([function(x[rows]) for rows in in_batches(len(x))])


def recognised(judges: Iterable[Pretrained], x: Tensor, y: Tensor) -> dict[str, Tensor]:
    """Which of the images a judge takes for the class y, by the judge's name: bool [n]."""
    return {judge.name: each(network_of(judge, x.device), x).argmax(1) == y for judge in judges}


def lengths(delta: Tensor) -> Tensor:  # [n, C, H, W] -> [n]
    return delta.flatten(1).norm(dim=1)


def outlines(x: Tensor) -> Tensor:
    """How strong the edges of images are, at each place: [n, C, H, W] to [n, k], of mean 0 and length 1.

    Images are seen at SIDE x SIDE pixels and blurred over 3 x 3 of them. Which side of an edge is the brighter one, and of what colour
    the sides are, does not count: a network that has learnt letters of any colour keeps none of it, and nothing can bring it back.
    """
    seen = nn.functional.avg_pool2d(nn.functional.adaptive_avg_pool2d(x, SIDE), 3, stride=1)
    right, down = seen[..., 1:, 1:] - seen[..., 1:, :-1], seen[..., 1:, 1:] - seen[..., :-1, 1:]
    strength = (right.square() + down.square()).sum(1).sqrt().flatten(1)
    centred = strength - strength.mean(1, keepdim=True)
    return centred / centred.norm(dim=1, keepdim=True).clamp_min(1e-12)


def as_bytes(x: Tensor) -> Tensor:
    """Images as the report draws them: float [n, 3, H, W] in [0, 1] to uint8 [n, H, W, 3]."""
    return x.permute(0, 2, 3, 1).mul(255).round().to(torch.uint8).contiguous().cpu()


def on(network: nn.Module, x: np.ndarray | Tensor) -> Tensor:
    """An array on the device of a network."""
    return torch.as_tensor(x).to(device_of(network))
