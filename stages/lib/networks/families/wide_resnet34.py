"""Wide residual networks 34-k for images of 32 x 32, `wide_resnet34_<k>`. Unit: a block that begins with its batch norm.

The batch norm after the last block goes with the pooling, and is a piece by itself.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import nn

STACKED_BLOCKS = 0
LONE_BATCHNORM = True


def published(architecture: str, num_classes: int) -> "nn.Module":
    from stages.lib.networks.layers.wide_resnet34 import WideResNet  # here, as torch takes seconds to import

    return WideResNet(int(architecture.rpartition("_")[2]), num_classes)


def units(network: "nn.Module") -> dict[str, "nn.Module"]:
    from torch import nn  # here, as it takes seconds to import

    from stages.lib.networks.layers.chains import chain, stages_of  # here, as it imports torch

    pool = chain({"bn": network.bn, "relu": nn.ReLU(inplace=True), "avgpool": nn.AdaptiveAvgPool2d(1), "flatten": nn.Flatten(1)})
    return {"stem": chain({"conv1": network.conv1})} | stages_of(network) | {"pool": pool, "head": network.fc}
