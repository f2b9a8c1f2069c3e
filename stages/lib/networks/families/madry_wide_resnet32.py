"""The wide residual networks w32-k of Madry et al. (2018), `madry_wide_resnet32_<k>`. Unit: a residual block.

The batch norm after the last block goes with the pooling, and is a piece by itself: with the head and 15 blocks, of which the first
takes the stem along, these are the 17 blocks of Shafahi et al. (2020, Figure 2).
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import nn

STACKED_BLOCKS = 0
LONE_BATCHNORM = True


def published(architecture: str, num_classes: int) -> "nn.Module":
    from stages.lib.networks.layers.madry_wide_resnet32 import MadryWideResNet  # here, as torch takes seconds to import

    return MadryWideResNet(int(architecture.rpartition("_")[2]), num_classes)


def units(network: "nn.Module") -> dict[str, "nn.Module"]:
    from torch import nn  # here, as it takes seconds to import

    from stages.lib.networks.layers.chains import chain, stages_of  # here, as it imports torch

    pool = chain({"bn": network.bn, "relu": network.relu, "avgpool": nn.AdaptiveAvgPool2d(1), "flatten": nn.Flatten(1)})
    body = {"stem": chain({"conv1": network.conv1})} | stages_of(network)
    return {"normalise": network.standardise} | body | {"pool": pool, "head": network.fc}
