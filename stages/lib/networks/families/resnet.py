"""The residual networks of torchvision: ResNet, ResNeXt, and wide ones, of which `wide_resnet50_4` only the `robustness` library names.

Unit: a residual block.
"""

from typing import TYPE_CHECKING

from stages.lib.networks.layers import torchvision

if TYPE_CHECKING:
    from torch import nn

STACKED_BLOCKS = 0
LONE_BATCHNORM = False


def published(architecture: str, num_classes: int) -> "nn.Module":
    if architecture == "wide_resnet50_4":
        from torchvision import models  # here, as it takes two seconds to import

        return models.ResNet(models.resnet.Bottleneck, [3, 4, 6, 3], num_classes=num_classes, width_per_group=4 * 64)
    return torchvision.network(architecture, num_classes)


def units(network: "nn.Module") -> dict[str, "nn.Module"]:
    from torch import nn  # here, as it takes seconds to import

    from stages.lib.networks.layers.chains import chain, stages_of  # here, as it imports torch

    stem = chain({"conv1": network.conv1, "bn1": network.bn1, "relu": network.relu, "maxpool": network.maxpool})
    pool = nn.Sequential(network.avgpool, nn.Flatten(1))
    return {"stem": stem} | stages_of(network) | {"pool": pool, "head": network.fc}
