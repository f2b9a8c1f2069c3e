"""The small residual network with half or twice its channels, as Salman et al. (2020, Figure 6) compare widths. Unit: a basic block."""

from typing import TYPE_CHECKING

from stages.lib.networks.families.small_resnet import units

if TYPE_CHECKING:
    from torch import nn

__all__ = ["LONE_BATCHNORM", "STACKED_BLOCKS", "published", "units"]

STACKED_BLOCKS = 3
LONE_BATCHNORM = False
WIDTHS = {"small_resnet_x0_5": 8, "small_resnet_x2": 32}  # channels of the first stage; small_resnet has 16


def published(architecture: str, num_classes: int) -> "nn.Module":
    from stages.lib.networks.layers.small_resnet_widths import SmallResNetOfWidth  # here, as torch takes seconds to import

    return SmallResNetOfWidth(num_classes, WIDTHS[architecture])
