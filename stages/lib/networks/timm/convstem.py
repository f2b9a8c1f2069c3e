"""The stems of Singh et al. (NeurIPS 2023): convolutions of 3 x 3 in the place of a single coarse one.

Each is followed by a layer norm over the channels and GELU. A vision transformer has four of stride 2, and then one of 1 x 1 alone; a
ConvNeXt two of stride 2 and, from a width of 128 on, one of stride 1. Names of the weights are those of the authors' files.
"""

from timm.layers import LayerNorm2d
from torch import nn

from stages.lib.errors import RunError

FIRST_WIDTH = 48  # channels of the first convolution of a vision transformer, which each next one doubles


def with_convstem(network: nn.Module, name: str) -> nn.Module:
    """The network with such a stem, of random weights.

    Raises:
        RunError: for a network that is no ConvNeXt and no vision transformer with patches of 16 pixels.
    """
    if type(network).__name__ == "ConvNeXt":
        width = network.stem[0].out_channels
        narrow = width < 128
        network.stem = _Stem([width // 2, width] if narrow else [width // 2, width * 3 // 4, width], [2, 2] if narrow else [2, 2, 1])
    elif type(network).__name__ == "VisionTransformer" and network.patch_embed.patch_size == (16, 16):
        network.patch_embed.proj = _Stem([FIRST_WIDTH * 2**i for i in range(4)], [2] * 4, network.embed_dim)
    else:
        raise RunError(f"network {name} takes no convstem; allowed: a ConvNeXt, or a vision transformer with patches of 16 pixels")
    return network


class _Stem(nn.Module):
    def __init__(self, widths: list[int], strides: list[int], width_out: int | None = None):
        super().__init__()
        layers, width = [], 3
        for following, stride in zip(widths, strides, strict=True):
            layers += [nn.Conv2d(width, following, 3, stride, padding=1), LayerNorm2d(following, eps=1e-6), nn.GELU()]
            width = following
        self.stem = nn.Sequential(*layers, *([nn.Conv2d(width, width_out, 1)] if width_out else []))

    def forward(self, x):  # [batch, 3, H, W] in [0, 1], normalised or not
        return self.stem(x)
