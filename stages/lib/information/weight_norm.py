"""The norm of a network's weights, which adversarial training changes (Terzi et al. 2021, Example 3.3 and Figure 5)."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # the report, which reads what is kept, does without torch
    from torch import Tensor

NORM = "weight_norm"  # among what is kept of each epoch of a source's training, and among the measures of an experiment


def weight_norm(tensors: "Mapping[str, Tensor]") -> float:
    """The L2 norm of the weights of all convolutions and linear layers together.

    Biases and batch norm are left out: a batch norm undoes the scale of the convolution before it, and has weights of its own.

    Args:
        tensors: of a network, by the names of its state; a weight of a convolution or a linear layer is a matrix or has more axes.
    """
    return sum(float(tensor.double().square().sum()) for name, tensor in tensors.items() if is_weight(name, tensor)) ** 0.5


def is_weight(name: str, tensor: "Tensor") -> bool:
    """Whether a tensor of a network is the weight of a convolution or of a linear layer."""
    return name.endswith("weight") and tensor.dim() >= 2
