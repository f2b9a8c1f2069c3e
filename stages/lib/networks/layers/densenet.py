"""The dense layer as a unit of a chain."""

import torch
from torch import Tensor, nn


class DenseUnit(nn.Module):
    """A dense layer: its output is concatenated to its input (Huang et al. 2017)."""

    def __init__(self, layer: nn.Module):
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([x, self.layer(x)], 1)
