"""VGG with batch norm. Unit: a convolution with its batch norm and pooling (13), or a hidden linear layer (2).

The second dropout is trained with the head.
"""

from typing import TYPE_CHECKING

from stages.lib.networks.layers import torchvision

if TYPE_CHECKING:
    from torch import nn

STACKED_BLOCKS = None  # the head comes with a dropout, and what is drawn at random is not stacked
LONE_BATCHNORM = False
published = torchvision.network


def units(network: "nn.Module") -> dict[str, "nn.Module"]:
    from torch import nn  # here, as it takes seconds to import

    groups: list[list[nn.Module]] = []
    for module in network.features:
        if isinstance(module, nn.Conv2d):
            groups.append([])
        groups[-1].append(module)
    convolutions = {f"conv_{i}": nn.Sequential(*group) for i, group in enumerate(groups)}
    first, relu1, dropout1, second, relu2, dropout2, head = network.classifier
    linear = {
        "linear_0": nn.Sequential(network.avgpool, nn.Flatten(1), first, relu1, dropout1),
        "linear_1": nn.Sequential(second, relu2),
    }
    return convolutions | linear | {"dropout": dropout2, "head": head}
