"""ResNet-18 and -50 for images of 32 x 32, `cifar_resnet18` and `cifar_resnet50`: the networks that the `robustness` library has for CIFAR.

Unlike torchvision's of that name, their stem neither strides nor pools. Unit: a residual block.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import nn

STACKED_BLOCKS = 0
LONE_BATCHNORM = False


def published(architecture: str, num_classes: int) -> "nn.Module":
    from stages.lib.networks.layers import cifar_resnet as layers  # here, as torch takes seconds to import

    block, counts = {
        "cifar_resnet18": (layers.BasicBlock, (2, 2, 2, 2)),
        "cifar_resnet50": (layers.Bottleneck, (3, 4, 6, 3)),
    }[architecture]
    return layers.CifarResNet(block, counts, num_classes)


def units(network: "nn.Module") -> dict[str, "nn.Module"]:
    from torch import nn  # here, as it takes seconds to import

    from stages.lib.networks.layers.chains import chain, stages_of  # here, as it imports torch

    stem = chain({"conv1": network.conv1, "bn1": network.bn1, "relu": network.relu})
    pool = nn.Sequential(network.avgpool, nn.Flatten(1))
    return {"stem": stem} | stages_of(network) | {"pool": pool, "head": network.linear}
