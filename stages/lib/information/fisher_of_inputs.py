"""The Fisher information of the representation z and of the label y by the image: how much they tell of where x is.

Terzi et al. (2021), Definition 3.1 and Lemma 5.1. A representation f(x) without noise has no Fisher information; here
z = f(x) + N(0, I), so that F_z|x = J^T J with J the Jacobian of f, and its trace is the squared Frobenius norm of J. That depends on the
scale of f. x has pixels in [0, 1].
"""

from dataclasses import dataclass, fields

import numpy as np
import torch
from torch import Tensor, nn

from stages.lib.datasets import pixels
from stages.lib.information import scores, still
from stages.lib.networks import inference
from stages.lib.networks.devices import device_of


@dataclass(frozen=True)
class Traces:
    """Traces of Fisher informations, one for each image: float64 [n]."""

    representation: Tensor  # of z = f(x) + N(0, I), by Hutchinson's estimator
    linear: Tensor  # of A z + b, the head applied to this z: at most that of z (Lemma 5.1); by the same estimator
    label: Tensor  # of y ~ softmax(A f(x) + b), exactly; the head sees no noise, so that no bound by that of z holds


def traces(network: nn.Sequential, x: np.ndarray, size: int | None = None, probes: int = 8, seed: int = 0) -> Traces:
    """The traces for images, on the CPU.

    Args:
        network: in eval mode, whose last unit is its linear head.
        x: uint8 [n, H, W, 1 or 3].
        size: pixels a side that the network takes.
        probes: random vectors of Hutchinson's estimator, for each image its own.
        seed: of these.
    """
    body, head = network[:-1], network[-1]
    device, across = device_of(network), row_space(head.weight)
    widths = {"representation": head.in_features, "linear": across.shape[1]}
    random = torch.Generator().manual_seed(seed)
    signs = {name: torch.randint(0, 2, (len(x), probes, width), generator=random) * 2.0 - 1 for name, width in widths.items()}

    def of_batch(places: slice) -> Traces:
        seen = pixels.prepare(x[places], device, size).requires_grad_()
        z = body(seen)
        logits = head(z)
        drawn = {name: sign[places].to(device).movedim(1, 0) for name, sign in signs.items()}
        along = {"representation": drawn["representation"], "linear": drawn["linear"] @ across.T}
        of_probes = {name: sum(_squared(z, seen, v) for v in vectors) / probes for name, vectors in along.items()}
        of_label = sum(_squared(logits, seen, score) for score in scores.of_all_labels(logits))
        return Traces(**of_probes, label=of_label)

    with still.weights(network):
        batches = list(inference.in_batches(of_batch, len(x)))
    return Traces(*(torch.cat([getattr(batch, field.name) for batch in batches]).double().cpu() for field in fields(Traces)))


def row_space(weight: Tensor) -> Tensor:  # [classes, width] -> [width, min(classes, width)]
    """An orthonormal basis of what a linear head sees of a representation: its Fisher information is that of the projection on it."""
    return torch.linalg.qr(weight.detach().T)[0]


def _squared(output: Tensor, x: Tensor, vectors: Tensor) -> Tensor:  # [batch, width], [batch, 3, H, W], [batch, width] -> [batch]
    """The squared norm of the product of the vector of each image and the Jacobian of its output by the image."""
    [gradient] = torch.autograd.grad(output, x, vectors, retain_graph=True)
    return gradient.flatten(1).square().sum(1)
