"""ShuffleNetV2. Unit: a residual unit, and the last 1 x 1 convolution."""

from typing import TYPE_CHECKING

from stages.lib.networks.layers import torchvision

if TYPE_CHECKING:
    from torch import nn

STACKED_BLOCKS = 0
LONE_BATCHNORM = False
published = torchvision.network


def units(network: "nn.Module") -> dict[str, "nn.Module"]:
    from torch import nn  # here, as it takes seconds to import

    from stages.lib.networks.layers.chains import mean_over_pixels  # here, as it imports torch

    stages = ("stage2", "stage3", "stage4")
    blocks = {f"{stage}_{i}": block for stage in stages for i, block in enumerate(getattr(network, stage))}
    last = {"conv5": network.conv5, "pool": mean_over_pixels(), "head": network.fc}
    return {"stem": nn.Sequential(network.conv1, network.maxpool)} | blocks | last
