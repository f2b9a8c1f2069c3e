"""Checks that catch an evaluation which cannot be trusted, after Athalye et al. (2018) and Carlini et al. (2019, Section 4).

A defence that hides its gradients looks robust to an attack that follows them. What such a model does, and a robust one does not:
its loss is random, differs between batches, or has no gradient; a longer attack or a larger ball helps little; one step beats
many; an attack that sees logits alone finds errors that gradients do not.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor, nn

from stages.lib.attacks import evaluation, fgsm, pgd, random_search
from stages.lib.attacks.attack import Perturb, loss_gradient
from stages.lib.attacks.evaluation import See
from stages.lib.norms.table import norm_of

SAME = 1e-3  # of the largest logit: how far rounding may move one
LEFT = 0.1  # of the images that may stand in a ball as large as half of the range of pixels
CHANCE = 0.1  # of the images: what two attacks that are equally strong may differ by
VANISHED = 1e-10  # largest change of the loss for a change of a pixel by its range, below which no step has a direction
MANY = 0.1  # of the images that may have such a gradient
QUERIES = 100  # of the attack without gradients


@dataclass(frozen=True)
class Check:
    name: str
    passed: bool
    says: str  # with figures, why it passed or did not


def checks(
    network: nn.Module,
    x: np.ndarray,  # uint8 [n, H, W, 1 or 3], correctly labelled
    y: np.ndarray,  # int64 [n]
    *,
    see: See,
    norm: str,
    radii: list[float],
    steps: int,
    step_ratio: float,
    seed: int,
) -> Iterator[Check]:
    """The checks of PGD(k) on a network within a norm; `radii` are those that it is evaluated at, above 0."""
    network.eval()
    batch = see(x)
    labels = torch.from_numpy(y).to(batch.device)
    yield _same_again(network, batch)
    yield _same_alone(network, batch)
    yield _has_gradient(network, batch, labels)

    def share(perturb: Perturb) -> float:
        torch.manual_seed(seed)
        return float(evaluation.withstood(network, x, y, np.ones(len(x), bool), see=see, perturb=perturb).mean())

    ascent = partial(pgd.make, norm=norm, step_ratio=step_ratio, random_start=True)
    left = {eps: share(ascent(eps=eps, steps=steps)) for eps in sorted(radii)}
    yield _falls_with_eps(left)
    half = norm_of(norm).diameter(batch[0].numel()) / 2
    yield _falls_to_zero(share(ascent(eps=half, steps=steps)), half)
    telling = min(left, key=lambda eps: abs(left[eps] - 0.5))
    rivals = {
        "one step": ("one step (FGSM)", fgsm.make(norm=norm, eps=telling)),
        "steps": (f"twice as many steps, PGD({2 * steps})", ascent(eps=telling, steps=2 * steps)),
        "black box": (
            f"a random search without gradients ({QUERIES} queries)",
            random_search.make(norm=norm, eps=telling, queries=QUERIES),
        ),
    }
    for name, (rival, perturb) in rivals.items():
        yield _not_above(name, f"at eps {telling:.3g} PGD({steps}) leaves", left[telling], rival, share(perturb))


@torch.no_grad()
def _same_again(network: nn.Module, x: Tensor) -> Check:
    first, second = network(x), network(x)
    change = _relative(first, second)
    return Check("repeat", change <= SAME, f"logits of the same images differ by {change:.1e} of the largest from one pass to the next")


@torch.no_grad()
def _same_alone(network: nn.Module, x: Tensor) -> Check:
    change = _relative(network(x), torch.cat([network(image[None]) for image in x]))
    return Check("batch", change <= SAME, f"logits of an image alone and among {len(x)} differ by {change:.1e} of the largest")


def _has_gradient(network: nn.Module, x: Tensor, y: Tensor) -> Check:
    steepest = loss_gradient(network, x, y).flatten(1).abs().amax(1)
    gone = (~(steepest > VANISHED)).double().mean().item()  # NaN is none
    return Check("gradient", gone <= MANY, f"the gradient of the cross-entropy is zero for {gone:.0%} of the images")


def _falls_with_eps(left: dict[float, float]) -> Check:
    shares = list(left.values())
    rise = max((later - earlier for earlier, later in pairwise(shares)), default=0.0)
    percents = ", ".join(f"{share:.0%}" for share in shares)
    return Check("eps", rise <= CHANCE, f"accuracy from the smallest radius to the largest, each attacked by itself: {percents}")


def _falls_to_zero(left: float, eps: float) -> Check:
    return Check("large eps", left <= LEFT, f"{left:.0%} still stand at eps {eps:.3g}, half of the greatest distance of two images")


def _not_above(name: str, what: str, own: float, rival: str, other: float) -> Check:
    """Whether a rival attack leaves not much less than the one that the figures rest on."""
    return Check(name, other >= own - CHANCE, f"{what} {own:.0%} standing, {rival} {other:.0%}")


def _relative(a: Tensor, b: Tensor) -> float:
    change = ((a - b).abs().max() / a.abs().max().clamp_min(1e-12)).item()
    return change if math.isfinite(change) else math.inf
