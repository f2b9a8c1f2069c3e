"""Networks that have their first units in common: one pass of images through the longest frozen part gives what each network trains on.

Fine-tunings of one source on the same images that differ in the number of blocks have such networks: the frozen part in front of three
blocks is the beginning of that in front of one.
"""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor, nn

from stages.lib.datasets import pixels
from stages.lib.networks.inference import CutNetwork, Prepare, widened
from stages.lib.networks.layers import cuts


def cut(networks: Sequence[nn.Sequential], blocks: Sequence[int]) -> list[tuple[nn.Sequential, nn.Sequential]]:
    """The frozen and the trained part of each network, as `cuts.cut` cuts it before its last blocks.

    The networks have equal weights; from here on they have their frozen units in common, which are those of the network that has most.
    """
    frozen = [len(cuts.cut(network, count)[0]) for network, count in zip(networks, blocks, strict=True)]  # units
    longest = networks[frozen.index(max(frozen))]
    for network, count in zip(networks, frozen, strict=True):
        for name, unit in list(longest.named_children())[:count]:
            setattr(network, name, unit)
    return [cuts.cut(network, count) for network, count in zip(networks, blocks, strict=True)]


class Nested:
    """Cut networks that see the same images: a single one, or several with frozen units in common, as `cut` gives them."""

    def __init__(self, models: Sequence[CutNetwork]):
        self.models, self.device, self.view = list(models), models[0].device, models[0].view
        self.longest = max((model.frozen for model in models), key=len) if len(models) > 1 else models[0].frozen
        ends = sorted({len(model.frozen) for model in models}) if len(models) > 1 else []
        self.segments = {end: self.longest[start:end] for start, end in pairwise([0, *ends])}  # by how many units are passed after each

    def eval(self) -> None:
        """Put all networks into eval mode."""
        for model in self.models:
            model.eval()

    def features(self, x: np.ndarray | Tensor, prepare: Prepare | None = None) -> list[Tensor]:
        """The input of the trained part of each network; arguments as those of `CutNetwork.features`, of several networks images alone."""
        if len(self.models) == 1:
            return [self.models[0].features(x, prepare)]
        passed = {}
        with torch.no_grad():
            z = (prepare or pixels.prepare)(x, self.device, self.view.size, self.view.resolution)
            with self.view.precision(self.device):
                for end, segment in self.segments.items():
                    z = segment(z)
                    passed[end] = widened(z)
        return [passed[len(model.frozen)] for model in self.models]

    def __call__(self, x: np.ndarray | Tensor) -> Tensor:
        """Logits [networks, batch, classes]."""
        features = self.features(x)
        with self.view.precision(self.device):
            return torch.stack([model.trained(z) for model, z in zip(self.models, features, strict=True)])
