"""A source as the backbone of a detector: its stages, one after the other, and a pyramid of their features (Lin et al. 2017).

As usual for detectors, batch norm is a fixed map by the source's statistics, scale and shift; the first stages are not trained. The
early features of a source, robust or not, are then used as they are. A source without pre-training has nothing to keep: all of it is
trained, with batch norm by the statistics of each batch.
"""

from collections import OrderedDict

import torch
from torch import Tensor, nn
from torchvision.ops import FeaturePyramidNetwork, FrozenBatchNorm2d
from torchvision.ops.feature_pyramid_network import LastLevelMaxPool

from stages.lib.errors import RunError
from stages.lib.networks import units
from stages.lib.networks.pretrained import Pretrained

FEWEST_STAGES = 2


class Backbone(nn.Module):
    """Images, normalised, to features at strides that double from stage to stage, all of the same width.

    Args:
        widths: channels of the features of each stage.
    """

    def __init__(self, stem: nn.Module, stages: dict[str, nn.Module], widths: list[int], out_channels: int):
        super().__init__()
        self.stem, self.stages = stem, nn.ModuleDict(stages)
        self.levels = list(stages)  # the names of the features that objects are read from: of all but the pooled ones
        self.pyramid = FeaturePyramidNetwork(widths, out_channels, extra_blocks=LastLevelMaxPool())
        self.out_channels = out_channels  # torchvision's detectors ask for it

    def forward(self, x: Tensor) -> "OrderedDict[str, Tensor]":  # [batch, 3, H, W], normalised
        x, features = self.stem(x), OrderedDict()
        for name, stage in self.stages.items():
            features[name] = x = stage(x)
        return self.pyramid(features)


def of_source(source: Pretrained, out_channels: int, freeze_at: int) -> Backbone:
    """The backbone that is begun with a source; `freeze_at`: stages that are not trained, the stem being the first.

    Raises:
        RunError: where its units do not stand in stages.
    """
    if source.classes is None:
        network, frozen = units.build(source.architecture, 1, list(source.mean), list(source.std)), 0
    else:
        network, frozen = with_fixed_batchnorm(source.network()), freeze_at
    stem, stages = stages_of(network, source)
    for module in [stem, *stages.values()][:frozen]:
        module.requires_grad_(False)
    return Backbone(stem, stages, _widths(stem, stages), out_channels)


def stages_of(network: nn.Sequential, source: Pretrained) -> tuple[nn.Module, dict[str, nn.Module]]:
    """The stem, and the stages by name: `layer1_0`, `layer1_1` and so on are one stage."""
    blocks: dict[str, list[nn.Module]] = {}
    for name, unit in network.named_children():
        if name not in ("normalise", "stem", "pool", "dropout", "head"):
            blocks.setdefault(name.rpartition("_")[0] or name, []).append(unit)
    if not hasattr(network, "stem") or len(blocks) < FEWEST_STAGES or not all(name.startswith("layer") for name in blocks):
        allowed = "residual networks of torchvision's layout"
        raise RunError(f"{source.name}: a {source.architecture} has no stages for a pyramid; allowed: {allowed}")
    return network.stem, {name: nn.Sequential(*of_stage) for name, of_stage in blocks.items()}


def with_fixed_batchnorm(network: nn.Module) -> nn.Module:
    """The network with every batch norm in it replaced by the map that it is in eval mode, which nothing trains."""
    for name, child in network.named_children():
        if isinstance(child, nn.BatchNorm2d):
            fixed = FrozenBatchNorm2d(child.num_features, child.eps)
            fixed.load_state_dict({key: value for key, value in child.state_dict().items() if key != "num_batches_tracked"})
            setattr(network, name, fixed)
        else:
            with_fixed_batchnorm(child)
    return network


@torch.no_grad()
def _widths(stem: nn.Module, stages: dict[str, nn.Module]) -> list[int]:
    """Channels of the features of each stage, from a small image that goes through them."""
    training = stem.training
    x, widths = stem.eval()(torch.zeros(1, 3, 64, 64)), []
    for stage in stages.values():
        x = stage.eval()(x)
        widths.append(x.shape[1])
    for module in [stem, *stages.values()]:
        module.train(training)
    return widths
