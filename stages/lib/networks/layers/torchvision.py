"""Networks that torchvision builds by name, for the families whose architectures it publishes."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import nn


def network(architecture: str, num_classes: int) -> "nn.Module":
    """The published network of an architecture with random weights."""
    from torchvision import models  # here, as it takes two seconds to import

    return models.get_model(architecture, weights=None, num_classes=num_classes)
