"""Networks with noise on their weights: how much each weight can bear, by the Fisher information, and what the network then computes.

The noise of a weight is what stochastic gradient descent leaves undecided of it: little where the loss depends on it. It stands for what
the network effectively uses of an image (Terzi et al. 2021, Definitions 3.4, 3.5 and 4.1).
"""

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap

CHUNK_BYTES = 256 << 20  # of gradients of single images at once


def weights_of(network: nn.Module) -> dict[str, Tensor]:
    """The weights that information is measured in, by name: those of convolutions and linear layers, without biases and batch norm."""
    kinds = (nn.modules.conv._ConvNd, nn.Linear)
    return {f"{name}.weight": module.weight.detach() for name, module in network.named_modules() if isinstance(module, kinds)}


def fisher_diagonal(network: nn.Module, x: Tensor, generator: torch.Generator) -> dict[str, Tensor]:
    """The diagonal of the Fisher information of the weights, F = E_x E_{y ~ p(y|x)} of (d log p(y|x) / d w)^2, by the name of a weight.

    The label of each image is drawn once from what the network says of it, so that no label is needed. The square is of the gradient of
    each single image: that of a batch's mean would be smaller and would shrink as batches grow.

    Args:
        network: in eval mode, from images to logits.
        x: images [n, C, H, W] in [0, 1].
        generator: draws the labels.
    """
    weights = weights_of(network)
    others = {name: tensor.detach() for name, tensor in network.state_dict(keep_vars=True).items() if name not in weights}

    def log_probability(learnt: dict[str, Tensor], image: Tensor, label: Tensor) -> Tensor:
        logits = functional_call(network, (learnt, others), (image[None],))
        return -nn.functional.cross_entropy(logits, label[None])

    def squares(images: Tensor, labels: Tensor) -> dict[str, Tensor]:
        gradients = vmap(grad(log_probability), in_dims=(None, 0, 0))(weights, images, labels)
        return {name: gradient.square().sum(0) for name, gradient in gradients.items()}

    chunks = x.split(max(1, CHUNK_BYTES // (4 * sum(weight.numel() for weight in weights.values()))))
    with torch.no_grad():
        probabilities = torch.cat([network(images).softmax(1).cpu() for images in chunks])
    drawn = torch.multinomial(probabilities, 1, generator=generator).squeeze(1).to(x.device)
    total = {name: torch.zeros_like(weight) for name, weight in weights.items()}
    for images, labels in zip(chunks, drawn.split([len(images) for images in chunks]), strict=True):
        for name, square in squares(images, labels).items():
            total[name] += square
    return {name: squares_of / len(x) for name, squares_of in total.items()}


def variances(fisher: Mapping[str, Tensor], beta: float, prior_std: float) -> dict[str, Tensor]:
    """The variance of the noise of each weight: beta/2 (F + beta / (2 lambda^2))^-1, with F diagonal (Terzi et al. 2021, Definition 3.4).

    Weights on which nothing depends have the variance of the prior, where beta F^-1 of Definition 3.5 would be infinite.

    Args:
        fisher: diagonal of the Fisher information, by the name of a weight; that of `fisher_diagonal`, or a better estimate of it.
        beta: level of the noise, from 0 (none).
        prior_std: lambda, the standard deviation of the weights before any training.
    """
    return {name: (beta / 2) / (f + beta / (2 * prior_std**2)) if beta else torch.zeros_like(f) for name, f in fisher.items()}


class Noisy:
    """A network f with weights w + n, n ~ N(0, Sigma): it computes with the n that was drawn last.

    Args:
        network: from images to anything.
        of: variance of each weight by name; names that the network does not have belong to a part that is left out, such as the head.
        generator: draws n.
    """

    def __init__(self, network: nn.Module, of: Mapping[str, Tensor], generator: torch.Generator):
        self.network, self.generator = network, generator
        weights = weights_of(network)
        self.weights = {name: weights[name] for name in of if name in weights}
        self.std = {name: of[name].sqrt() for name in self.weights}
        self.drawn: dict[str, Tensor] = {}

    def draw(self) -> None:
        """Draw n anew."""
        self.drawn = {
            name: weight + self.std[name] * torch.randn(weight.shape, generator=self.generator).to(weight)
            for name, weight in self.weights.items()
        }

    def __call__(self, x: Tensor) -> Tensor:
        return functional_call(self.network, self.drawn, (x,))
