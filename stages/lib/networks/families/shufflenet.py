"""ShuffleNetV2. Unit: a residual unit, and the last 1 x 1 convolution."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import nn

STACKED_BLOCKS = 0
LONE_BATCHNORM = False


def published(architecture: str, num_classes: int) -> "nn.Module":
    from torchvision import models  # here, as it takes two seconds to import

    return models.get_model(architecture, weights=None, num_classes=num_classes)


def units(network: "nn.Module") -> dict[str, "nn.Module"]:
    from torch import nn  # here, as it takes seconds to import

    from stages.lib.networks.layers.chains import mean_over_pixels  # here, as it imports torch

    stages = ("stage2", "stage3", "stage4")
    blocks = {f"{stage}_{i}": block for stage in stages for i, block in enumerate(getattr(network, stage))}
    last = {"conv5": network.conv5, "pool": mean_over_pixels(), "head": network.fc}
    return {"stem": nn.Sequential(network.conv1, network.maxpool)} | blocks | last
