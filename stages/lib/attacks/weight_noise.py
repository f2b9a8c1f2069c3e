"""Networks with noise on their weights.

The noise of a weight is what stochastic gradient descent leaves undecided of it: little where the loss depends on it. It stands for what
the network effectively uses of an image (Terzi et al. 2021, Definitions 3.4, 3.5 and 4.1).
"""

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.func import functional_call


class Noisy:
    """A network f with weights w + n, n ~ N(0, Sigma): it computes with the n that was drawn last.

    Args:
        network: from images to anything.
        std: standard deviation of the noise of each weight, by name, such as `information.fisher_of_weights.deviations` gives; names
            that the network does not have belong to a part that is left out, such as the head.
        generator: draws n.
    """

    def __init__(self, network: nn.Module, std: Mapping[str, Tensor], generator: torch.Generator):
        self.network, self.generator = network, generator
        self.weights = {name: weight.detach() for name, weight in network.named_parameters() if name in std}
        self.std = {name: std[name].to(weight) for name, weight in self.weights.items()}
        self.drawn: dict[str, Tensor] = {}

    def draw(self) -> None:
        """Draw n anew."""
        self.drawn = {
            name: weight + self.std[name] * torch.randn(weight.shape, generator=self.generator).to(weight)
            for name, weight in self.weights.items()
        }

    def __call__(self, x: Tensor) -> Tensor:
        return functional_call(self.network, self.drawn, (x,))
