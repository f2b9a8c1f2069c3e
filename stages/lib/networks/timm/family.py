"""Networks of the timm library, `timm/<its name>`. Unit: a group of layers, as the library's own `group_matcher` groups them.

Behind the name may stand `+convstem`, for the stem of Singh et al. (2023), `,depth=<n>`, for another number of blocks in a row, and
`@<pixels>`, for another size at which it sees images. Images of another size are brought to it in the stem. What stands between the
last group and the last linear layer, such as pooling and its norm, goes with the pooling.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import nn

STACKED_BLOCKS = 0
LONE_BATCHNORM = False  # `architectures.pieces_of` counts the pieces of each


def published(architecture: str, num_classes: int) -> "nn.Module":
    from stages.lib.networks.timm import networks as timm_networks  # here, as it takes seconds to import

    return timm_networks.network(architecture, num_classes)


def units(network: "nn.Module") -> dict[str, "nn.Module"]:
    from stages.lib.networks.timm import cuts as timm_cuts  # here, as they take seconds to import
    from stages.lib.networks.timm import units as timm_units

    return timm_units.units(network, timm_cuts.cut_of(network.architecture))
