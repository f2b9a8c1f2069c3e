"""Small networks and images for tests of attacks, and how far images moved."""

import torch
from hypothesis import settings
from hypothesis import strategies as st
from torch import nn

from stages.lib.norms.table import NORMS, norm_of

CASES = settings(max_examples=25, deadline=None, database=None)
NORM, SEED = st.sampled_from(list(NORMS)), st.integers(0, 1000)


def convolutional(seed: int = 0) -> nn.Sequential:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Dropout(0.3), nn.Flatten(), nn.Linear(64, 5))


def linear(seed: int = 0) -> nn.Sequential:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Flatten(), nn.Linear(108, 5))


def images(seed: int = 0, n: int = 4) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    x = torch.rand(n, 3, 6, 6, generator=generator)
    x[0, :, :2] = 0.0
    x[-1, :, 2:4] = 1.0
    return x, torch.randint(0, 5, (n,), generator=generator)


def lengths(delta: torch.Tensor, norm: str) -> torch.Tensor:
    flat = delta.detach().flatten(1).double()
    return torch.linalg.vector_norm(flat, norm_of(norm).order, dim=1)
