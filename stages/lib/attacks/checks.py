"""Checks that catch an evaluation which cannot be trusted, after Athalye et al. (2018) and Carlini et al. (2019, Section 4).

A defence that hides its gradients looks robust to an attack that follows them. What such a model does, and a robust one does not:
its loss is random, differs between batches, has no gradient, or does not rise as its gradient says; a ball as wide as half of the
range of pixels leaves images standing; one step, a loss that does not saturate, or an attack that sees no gradient of the model
breaks what many steps left.
docs/robustness.md says which of these catches what.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor, nn

from stages.lib.attacks import evaluation, fgsm, pgd, random_search
from stages.lib.attacks.attack import Perturb, loss_gradient, margin
from stages.lib.attacks.evaluation import AIMS, Aim, See
from stages.lib.networks.layers.folded import folded
from stages.lib.norms.norm import Norm
from stages.lib.norms.table import norm_of

SAME = 1e-3  # of the largest logit: how far rounding may move one
ALONE = 16  # images that the network sees one by one
LEFT = 0.1  # of the images that may stand in a ball as large as half of the range of pixels
CHANCE = 0.1  # of the images: what a rival attack may break of those that stand
VANISHED = 1e-10  # largest change of the loss for a change of a pixel by its range, below which no step has a direction
MANY = 0.1  # of the images that may have such a gradient
STEP = 0.1  # of the radius: over so far, either way, the loss is compared with its gradient
AS_STEEP = (0.5, 2.0)  # the rise of the loss, of what its gradient promises
WIDE = 32 / 255  # of the range of pixels: the ball then holds every image each of whose pixels differs by that much
QUERIES = 100  # of the attack without gradients
ON_MARGIN = {"steps": 40, "step_ratio": 5.0, "random_start": True, "loss": "margin"}  # of the attack whose loss does not saturate
TRANSFERRED = {"steps": 10, "step_ratio": 2.5}  # of the attack on the other network


@dataclass(frozen=True)
class Check:
    name: str
    passed: bool
    says: str  # with figures, why it passed or did not


@dataclass(frozen=True)
class Attack:
    """An attack that the figures rest on."""

    at: Callable[[float], Perturb]  # the attack of a radius
    aim: Aim = AIMS[None]


@dataclass(frozen=True)
class Trial:
    """A network, and images that it labels correctly."""

    network: nn.Module
    x: np.ndarray  # uint8 [n, H, W, 1 or 3]
    y: np.ndarray  # int64 [n]
    see: See
    seed: int  # of the attacks' random draws

    @cached_property
    def fast(self) -> nn.Module:
        """What attacks on the network follow."""
        return folded(self.network)

    def standing(self, attacks: Sequence[Attack], eps: float, among: np.ndarray | None = None) -> np.ndarray:  # bool [n]
        """Which images stand against all of the attacks, each of which is made on what the ones before have left.

        Args:
            among: bool [n], the images that are attacked; None: all.
        """
        left = np.ones(len(self.x), bool) if among is None else among
        for attack in attacks:
            how = {"see": self.see, "perturb": attack.at(eps), "aim": attack.aim, "fast": self.fast}
            torch.manual_seed(self.seed)
            left = evaluation.withstood(self.network, self.x, self.y, left, **how)
        return left


def checks(trial: Trial, *, norm: str, radii: list[float], attacks: Sequence[Attack], other: nn.Module | None) -> Iterator[Check]:
    """The checks of an evaluation within a norm.

    Args:
        radii: those of the evaluation, above 0.
        attacks: those that the figures rest on; an image stands if it stands against all.
        other: another network that classifies such images, on whose adversarial examples this one is tried.
    """
    network, ball = trial.network.eval(), norm_of(norm)
    batch = trial.see(trial.x)
    labels = torch.from_numpy(trial.y).to(batch.device)
    near, diameter = sorted(radii)[len(radii) // 2], ball.diameter(batch[0].numel())
    wide, half = max(WIDE * diameter, *radii), diameter / 2
    yield _same_again(network, batch)
    yield _same_alone(network, batch)
    yield _has_gradient(network, batch, labels)
    yield _as_steep(network, batch, labels, ball, STEP * near)
    stand_near, stand_wide = trial.standing(attacks, near), trial.standing(attacks, wide)
    stand_half = stand_wide if stand_wide.mean() <= LEFT or wide >= half else trial.standing(attacks, half, stand_wide)
    yield _falls_to_zero(stand_half.mean(), wide if stand_half is stand_wide else half)
    one_step = Attack(lambda eps: fgsm.make(norm=norm, eps=eps))
    on_margin = Attack(lambda eps: pgd.make(norm=norm, eps=eps, **ON_MARGIN))
    blind = Attack(lambda eps: random_search.make(norm=norm, eps=eps, queries=QUERIES))
    yield _breaks_little(trial, "one step", "one step (FGSM)", one_step, near, stand_near)
    yield _breaks_little(trial, "margin", f"PGD({ON_MARGIN['steps']}) on the margin", on_margin, near, stand_near)
    yield _breaks_little(trial, "black box", f"a random search without gradients ({QUERIES} queries)", blind, wide, stand_wide)
    if other is None:
        yield Check("transfer", True, "no other network sees these images, so there are no adversarial examples of another one to try")
    else:
        yield _breaks_little(trial, "transfer", "adversarial examples of another network", _on(other, norm), wide, stand_wide)


def _on(other: nn.Module, norm: str) -> Attack:
    """An attack that follows the gradients of another network."""

    def at(eps: float) -> Perturb:
        attack = pgd.make(norm=norm, eps=eps, **TRANSFERRED)
        return lambda network, x, y: attack(other, x, y)

    return Attack(at)


@torch.no_grad()
def _same_again(network: nn.Module, x: Tensor) -> Check:
    first, second = network(x), network(x)
    change = _relative(first, second)
    return Check("repeat", change <= SAME, f"logits of the same images differ by {change:.1e} of the largest from one pass to the next")


@torch.no_grad()
def _same_alone(network: nn.Module, x: Tensor) -> Check:
    change = _relative(network(x)[:ALONE], torch.cat([network(image[None]) for image in x[:ALONE]]))
    return Check("batch", change <= SAME, f"logits of an image alone and among {len(x)} differ by {change:.1e} of the largest")


def _has_gradient(network: nn.Module, x: Tensor, y: Tensor) -> Check:
    steepest = loss_gradient(network, x, y).flatten(1).abs().amax(1)
    gone = (~(steepest > VANISHED)).double().mean().item()  # NaN is none
    return Check("gradient", gone <= MANY, f"the gradient of the cross-entropy is zero for {gone:.0%} of the images")


def _as_steep(network: nn.Module, x: Tensor, y: Tensor, ball: Norm, length: float) -> Check:
    """Whether the margin rises along its gradient as the gradient says; of the margin, as it does not saturate."""
    gradient = loss_gradient(network, x, y, margin)
    ahead, behind = ((x + way * length * ball.step(gradient)).clamp(0, 1) for way in (1, -1))
    with torch.no_grad():
        rise = margin(network(ahead), y) - margin(network(behind), y)
    share = float((rise / (gradient * (ahead - behind)).flatten(1).sum(1)).nan_to_num(0.0).median())
    says = f"over {length:.2g} along the gradient the loss rises by {share:.0%} of what the gradient promises (median of the images)"
    return Check("slope", AS_STEEP[0] <= share <= AS_STEEP[1], says)


def _falls_to_zero(left: float, eps: float) -> Check:
    return Check("large eps", bool(left <= LEFT), f"{left:.0%} still stand at eps {eps:.3g}")


def _breaks_little(trial: Trial, name: str, rival: str, attack: Attack, eps: float, standing: np.ndarray) -> Check:
    """Whether a rival attack breaks few of the images that stand against those that the figures rest on."""
    both = trial.standing([attack], eps, standing)
    says = f"at eps {eps:.3g} {standing.mean():.0%} stand against the evaluation, and {both.mean():.0%} against {rival}, too"
    return Check(name, bool((standing & ~both).mean() <= CHANCE), says)


def _relative(a: Tensor, b: Tensor) -> float:
    change = ((a - b).abs().max() / a.abs().max().clamp_min(1e-12)).item()
    return change if math.isfinite(change) else math.inf
