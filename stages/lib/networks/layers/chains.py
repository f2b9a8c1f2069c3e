"""Modules in a row, as families make their units of them."""

from collections import OrderedDict

from torch import nn


def chain(modules: dict[str, nn.Module]) -> nn.Sequential:
    """The modules one after the other, under their names."""
    return nn.Sequential(OrderedDict(modules))


def mean_over_pixels() -> nn.Sequential:
    """[batch, C, H, W] to one vector an image, [batch, C]."""
    return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(1))


def stages_of(network: nn.Module) -> dict[str, nn.Module]:
    """The blocks of a residual network, `layer1_0` to at most those of `layer4`."""
    stages = {stage: getattr(network, stage, ()) for stage in ("layer1", "layer2", "layer3", "layer4")}
    return {f"{stage}_{i}": block for stage, blocks in stages.items() for i, block in enumerate(blocks)}
