"""A network whose weights stand still: gradients by images and by what layers give are cheaper without those of the weights."""

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn


@contextmanager
def weights(network: nn.Module) -> Iterator[None]:
    """The weights ask for no gradients; afterwards those do that did before."""
    learning = [weight for weight in network.parameters() if weight.requires_grad]
    try:
        for weight in learning:
            weight.requires_grad_(False)
        yield
    finally:
        for weight in learning:
            weight.requires_grad_(True)
