"""MnasNet. Unit: a residual unit, and the last 1 x 1 convolution; the dropout is trained with the head."""

from typing import TYPE_CHECKING

from stages.lib.networks.layers import torchvision

if TYPE_CHECKING:
    from torch import nn

STACKED_BLOCKS = None  # the head comes with a dropout, and what is drawn at random is not stacked
LONE_BATCHNORM = False
published = torchvision.network


def units(network: "nn.Module") -> dict[str, "nn.Module"]:
    from torch import nn  # here, as it takes seconds to import

    from stages.lib.networks.layers.chains import mean_over_pixels  # here, as it imports torch

    modules = list(network.layers)
    stacks = {f"stack{s}_{i}": block for s, stack in enumerate(modules[8:14]) for i, block in enumerate(stack)}
    dropout, head = network.classifier
    dropout.inplace = False  # it would write into activations that are kept for other runs
    last = {"last": nn.Sequential(*modules[14:]), "pool": mean_over_pixels(), "dropout": dropout, "head": head}
    return {"stem": nn.Sequential(*modules[:8])} | stacks | last
