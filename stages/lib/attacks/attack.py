"""What all attacks share: an attack is a function `perturb(model, x, y) -> x` that knows nothing of the training around it.

Images are in [0, 1] and eps is in those pixel units; the normalisation of a network is part of the network. Each attack is a module
of its own, whose `make` gives the attack of a norm and a radius (`attacks.table`).
"""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from stages.lib.norms.norm import Norm

Perturb = Callable[[nn.Module, Tensor, Tensor], Tensor]
Loss = Callable[[Tensor, Tensor], Tensor]
PIXELS = (0.0, 1.0)


def cross_entropy(logits: Tensor, y: Tensor) -> Tensor:  # [batch, classes], [batch] -> [batch]
    return nn.functional.cross_entropy(logits, y, reduction="none")


def margin(logits: Tensor, y: Tensor) -> Tensor:  # [batch, classes], [batch] -> [batch]
    """The highest logit of another class minus that of the label (Carlini & Wagner 2017): it does not saturate as a softmax does."""
    others = logits.scatter(1, y[:, None], -math.inf).amax(1)
    return others - logits.gather(1, y[:, None]).squeeze(1)


LOSSES: dict[str, Loss] = {"cross_entropy": cross_entropy, "margin": margin}
"""What an attack makes larger, of each image by itself."""


def loss_of(name: str) -> Loss:
    """
    Raises:
        ValueError: for a name that is not in `LOSSES`.
    """
    if name not in LOSSES:
        raise ValueError(f"loss is {name!r}; allowed: {', '.join(LOSSES)}")
    return LOSSES[name]


def loss_gradient(model: nn.Module, x: Tensor, y: Tensor, loss: Loss = cross_entropy) -> Tensor:
    """Gradient of the summed loss by the images, [batch, C, H, W]: no gradient of a weight is computed.

    The loss is summed, so that an image's gradient does not depend on the batch that it is in.
    """
    x = x.detach().requires_grad_()
    return torch.autograd.grad(loss(model(x), y).sum(), x)[0]


@contextmanager
def in_eval_mode(model: nn.Module) -> Iterator[None]:
    """Every part of the model in eval mode, and afterwards in the mode that it was in."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training


def check_images(x: Tensor, norm: Norm, eps: float, bounds: tuple[float, float] = PIXELS) -> None:
    """
    Raises:
        ValueError: for a pixel outside the bounds, and for an eps that is more than the greatest distance between two images.
    """
    low, high = bounds
    if not (x.min() >= low and x.max() <= high):  # so that NaN is refused, too
        raise ValueError(f"images span [{x.min():.3g}, {x.max():.3g}]; allowed: [{low:g}, {high:g}]")
    if eps > (widest := (high - low) * norm.diameter(x[0].numel())):
        shape = tuple(x.shape[1:])
        raise ValueError(f"eps is {eps:g}; allowed: up to {widest:.4g}, beyond which no two images of {shape} are in {norm.name}")


def check_not_negative(name: str, value: float) -> None:
    """
    Raises:
        ValueError: for a value outside [0, inf), by its name.
    """
    if not (value >= 0 and math.isfinite(value)):
        raise ValueError(f"{name} is {value}; allowed: a number from 0 (in pixel units of [0, 1] images)")


def ramped(make: Callable[[float], Perturb], *, eps: float, hold: float, ramp: float) -> Callable[[float], Perturb]:
    """An attack that grows: its eps is 0 for a fraction `hold` of the training, then rises linearly to `eps` over the fraction `ramp`.

    Args:
        make: the attack of a radius.

    Returns:
        the attack at a fraction of the training, in [0, 1).
    """

    def at(progress: float) -> Perturb:
        risen = min(1.0, max(0.0, progress - hold) / ramp) if ramp else float(progress >= hold)
        return make(eps * risen)

    return at
