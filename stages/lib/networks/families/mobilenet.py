"""MobileNetV2. Unit: a residual unit, and the last 1 x 1 convolution; the dropout is trained with the head."""

from typing import TYPE_CHECKING

from stages.lib.networks.layers import torchvision

if TYPE_CHECKING:
    from torch import nn

STACKED_BLOCKS = None  # the head comes with a dropout, and what is drawn at random is not stacked
LONE_BATCHNORM = False
published = torchvision.network


def units(network: "nn.Module") -> dict[str, "nn.Module"]:
    from stages.lib.networks.layers.chains import mean_over_pixels  # here, as torch takes seconds to import

    stem, *blocks = network.features
    dropout, head = network.classifier
    features = {f"features_{i}": block for i, block in enumerate(blocks, start=1)}
    return {"stem": stem} | features | {"pool": mean_over_pixels(), "dropout": dropout, "head": head}
