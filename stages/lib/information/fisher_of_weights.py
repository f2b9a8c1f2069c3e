"""The Fisher information of the weights of a classifier, F = E_x E_y grad log p(y|x) grad log p(y|x)^T with y ~ p(y|x): its diagonal.

Terzi et al. (2021), Section 2, and Definition 3.4 for what noise it allows the weights. Each image has a gradient of its own, whose
square is taken: the square of the mean gradient of a batch is another quantity, which is smaller. The gradients of a whole batch are
one product for each layer, of what the layer sees and the gradient by what it gives; no image passes by itself.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import cache, partial
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from stages.lib.datasets import pixels
from stages.lib.information import scores, still
from stages.lib.networks import inference
from stages.lib.networks.devices import device_of

BATCH = 64  # images in one pass, whose patches are in memory
MOST = 1 << 25  # numbers in the gradients, or in the patches, of a layer that are in memory at once
KEPT = 1 << 22  # numbers in the patches of a layer up to which they are computed once for all labels

SquaresBy = Callable[[Tensor], Tensor]
Fisher = dict[str, Tensor]  # float64, by the name of the weight and of its shape: the diagonal of the Fisher information


def diagonal(network: nn.Module, x: np.ndarray, size: int | None = None, labels: int | Literal["all"] = 1, seed: int = 0) -> Fisher:
    """The diagonal for the weights of all convolutions and linear layers, on the CPU; batch norm has the statistics of the source.

    Args:
        network: in eval mode, so that no image changes what another gives.
        x: uint8 [n, H, W, 1 or 3], over which the expectation is.
        size: pixels a side that the network takes.
        labels: how many are drawn for each image; `all`: their expectation, exactly, at the price of a backward pass for each class.
        seed: of the drawn labels.
    """
    drawn = None if labels == scores.ALL else torch.rand((len(x), labels), generator=torch.Generator().manual_seed(seed)).T
    device = device_of(network)

    def of_batch(places: slice) -> Fisher:
        total: Fisher = {}
        for part in torch.arange(len(x))[places].split(BATCH):
            seen = pixels.prepare(x[part.numpy()], device, size)
            for name, sums in squares(network, seen, None if drawn is None else drawn[:, part]).items():
                total[name] = total.get(name, 0) + sums.double()
        return total

    batches = list(inference.in_batches(of_batch, len(x)))
    return {name: sum(batch[name].cpu() for batch in batches) / len(x) for name in batches[0]}


def squares(network: nn.Module, x: Tensor, uniform: Tensor | None = None) -> Fisher:
    """The sum over a batch of the squared gradients of log p(y|x), in expectation over y; float32, on the device of the network.

    Args:
        x: float [batch, 3, size, size] in [0, 1].
        uniform: [draws, batch], which decide the labels that are drawn (`scores.of_drawn_labels`); None: no label is drawn.
    """
    sums: Fisher = {}
    seen = x.detach().requires_grad_()  # as the weights ask for no gradients
    with still.weights(network), _squares_of_each_image(network, sums):
        logits = network(seen)
        for score in scores.of_all_labels(logits) if uniform is None else scores.of_drawn_labels(logits, uniform):
            torch.autograd.grad(logits, seen, score, retain_graph=True)
    return {name: sums[name] for name, _ in network.named_parameters() if name in sums}  # backward passes begin at the head


@contextmanager
def _squares_of_each_image(network: nn.Module, sums: Fisher) -> Iterator[None]:
    """Every backward pass adds the squared gradients of the images, by each weight, to its sum."""

    def watch(name: str, layer: nn.Conv2d | nn.Linear) -> Callable[[nn.Module, tuple[Tensor], Tensor], None]:
        def passed(_: nn.Module, inputs: tuple[Tensor], output: Tensor) -> None:
            squares_by = _of_linear(inputs[0].detach()) if isinstance(layer, nn.Linear) else _of_convolution(layer, inputs[0].detach())

            def add(gradient: Tensor) -> None:
                sums[name] = sums[name] + squares_by(gradient) if name in sums else squares_by(gradient)

            output.register_hook(add)

        return passed

    layers = [(f"{name}.weight", layer) for name, layer in network.named_modules() if isinstance(layer, nn.Conv2d | nn.Linear)]
    handles = [layer.register_forward_hook(watch(name, layer)) for name, layer in layers]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _of_linear(seen: Tensor) -> SquaresBy:  # [batch, in]; gradients [batch, out] -> [out, in]
    """The gradient of an image is an outer product, whose square is that of the squares."""
    return lambda gradient: gradient.square().T @ seen.square()


def _of_convolution(layer: nn.Conv2d, seen: Tensor) -> SquaresBy:  # [batch, C, H, W]; gradients [batch, out, H', W'] -> as the weight
    """The gradient of an image is a sum over places, of the patch that is seen there and the gradient there."""

    groups, (height, width) = layer.groups, layer.kernel_size
    of_image = patches(layer, seen[:1]).numel()
    step = max(1, MOST // max(layer.weight.numel(), of_image))
    parts = seen.split(step)
    patches_of = partial(patches, layer)
    if of_image * len(seen) <= KEPT:
        patches_of = cache(patches_of)  # all labels have them in common

    def squares_by(gradient: Tensor) -> Tensor:
        total = 0
        for part, by_part in zip(parts, gradient.split(step), strict=True):
            by_place = by_part.permute(0, 2, 3, 1).flatten(1, 2).unflatten(2, (groups, -1)).transpose(1, 2)  # [batch, groups, places, out]
            of_each = by_place.mT @ patches_of(part)  # [batch, groups, out / groups, patch]
            total = total + of_each.square_().sum(0)
        return total.flatten(0, 1).unflatten(1, (height, width, -1)).permute(0, 3, 1, 2)

    return squares_by


def patches(layer: nn.Conv2d, x: Tensor) -> Tensor:  # [batch, C, H, W] -> [batch, groups, places, k * k * C / groups]
    """What the convolution sees at each place, channels last, which is how images lie in memory; it is copied once, or not at all."""
    (height, width), (down, right), (dilated_down, dilated_right) = layer.kernel_size, layer.stride, layer.dilation
    bordered = pad(x.permute(0, 2, 3, 1), (0, 0, layer.padding[1], layer.padding[1], layer.padding[0], layer.padding[0]))
    windows = bordered.unfold(1, dilated_down * (height - 1) + 1, down).unfold(2, dilated_right * (width - 1) + 1, right)
    seen = windows[..., ::dilated_down, ::dilated_right].unflatten(3, (layer.groups, -1))  # [batch, H', W', groups, C / groups, k, k]
    return seen.permute(0, 3, 1, 2, 5, 6, 4).flatten(4).flatten(2, 3)


def traces(fisher: Fisher) -> dict[str, float]:
    """The trace of each layer, by the name of its weight."""
    return {name: float(diagonal.sum()) for name, diagonal in fisher.items()}


def variances(fisher: Mapping[str, Tensor], beta: float, prior_std: float) -> Fisher:
    """The diagonal of (beta / 2) (F + beta / (2 lambda^2) I)^-1: the variance of the noise that costs the classifier the least.

    Definition 3.4 of Terzi et al. (2021), the covariance that minimises their equation 6 for a prior N(0, lambda^2 I). It is at most
    lambda^2, where a weight has no information; without the damping, as in Definition 3.5, it would be infinite there.

    Args:
        beta: how much information costs, above 0.
        prior_std: lambda, above 0.
    """
    return {name: beta / 2 / (diagonal + beta / (2 * prior_std**2)) for name, diagonal in fisher.items()}


def deviations(fisher: Mapping[str, Tensor], beta: float, prior_std: float) -> Fisher:
    """sigma: the standard deviation of that noise, of each weight, as an inversion adds it (Terzi et al. 2021, Algorithms 1 and 2).

    Weights that it does not name, of batch norm and biases, have none. Arguments as those of `variances`.
    """
    return {name: variance.sqrt() for name, variance in variances(fisher, beta, prior_std).items()}


def log_variances(fisher: Mapping[str, Tensor], beta: float, prior_std: float) -> dict[str, float]:
    """The mean over the weights of a layer of the natural logarithm of their variance (Terzi et al. 2021, Figure 4).

    Their figure has a norm of the logarithms, which counts a variance of 1/10 as much as one of 10. Arguments as those of `variances`.
    """
    return {name: float(variance.log().mean()) for name, variance in variances(fisher, beta, prior_std).items()}
