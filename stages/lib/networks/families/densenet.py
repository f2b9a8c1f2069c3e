"""DenseNet. Unit: a dense layer, and the transition before it where there is one; the last batch norm goes with the pooling."""

from typing import TYPE_CHECKING

from stages.lib.networks.layers import torchvision

if TYPE_CHECKING:
    from torch import nn

STACKED_BLOCKS = 0
LONE_BATCHNORM = True
published = torchvision.network


def units(network: "nn.Module") -> dict[str, "nn.Module"]:
    from torch import nn  # here, as it takes seconds to import

    from stages.lib.networks.layers.chains import chain  # here, as it imports torch
    from stages.lib.networks.layers.densenet import DenseUnit

    features = dict(network.features.named_children())
    cut = {"stem": chain({name: features[name] for name in ("conv0", "norm0", "relu0", "pool0")})}
    for stage in (1, 2, 3, 4):
        transition = features.get(f"transition{stage - 1}")
        for i, layer in enumerate(features[f"denseblock{stage}"].children()):
            unit = DenseUnit(layer)
            cut[f"denseblock{stage}_{i}"] = nn.Sequential(transition, unit) if i == 0 and transition is not None else unit
    pool = nn.Sequential(features["norm5"], nn.ReLU(inplace=True), nn.AdaptiveAvgPool2d(1), nn.Flatten(1))
    return cut | {"pool": pool, "head": network.classifier}
