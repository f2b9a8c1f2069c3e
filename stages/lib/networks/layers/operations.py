"""How many multiply-adds a network needs, counted as torch counts them: those of convolutions, linear layers and attention."""

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from stages.lib.networks import units
from stages.lib.networks.layers import cuts

CLASSES = 10  # of a head that is counted, where it makes no difference


def forward(network: nn.Module, *shape: int) -> int:
    """Multiply-adds of a pass forward of one image or activation of this shape, without the batch; nothing is computed."""
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        network.to("meta").eval()(torch.empty(1, *shape, device="meta"))
    return counter.get_total_flops() // 2


def of_parts(architecture: str, blocks: int | str, size: int, classes: int = CLASSES) -> tuple[int, int]:
    """Multiply-adds of a pass forward of one image through the frozen and through the trained part.

    A training step takes three times as many in the trained part: the gradients of its inputs and of its weights are as much work as
    the pass forward, each.

    Args:
        blocks: what is trained besides the head, as `cuts.cut` takes it.
        size: pixels a side.
    """
    with torch.device("meta"):
        network = units.build(architecture, classes, [0.5] * 3, [0.25] * 3)
    whole = forward(network, 3, size, size)
    frozen, _ = cuts.cut(network, blocks)
    before = 0 if frozen is None else forward(frozen, 3, size, size)
    return before, whole - before
