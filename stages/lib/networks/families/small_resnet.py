"""The small residual network of the embedded study. Unit: a basic block."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import nn

STACKED_BLOCKS = 3  # for all nine, one network at a time is as fast
LONE_BATCHNORM = False


def published(architecture: str, num_classes: int) -> "nn.Module":
    from stages.lib.networks.layers.small_resnet import SmallResNet  # here, as torch takes seconds to import

    return SmallResNet(num_classes)


def units(network: "nn.Module") -> dict[str, "nn.Module"]:
    from torch import nn  # here, as it takes seconds to import

    from stages.lib.networks.layers.chains import chain, stages_of  # here, as it imports torch

    stem = chain({"conv1": network.conv1, "bn1": network.bn1, "relu": network.relu})
    pool = nn.Sequential(network.avgpool, nn.Flatten(1))
    return {"stem": stem} | stages_of(network) | {"pool": pool, "head": network.fc}
