"""APGD on the cross-entropy or on the difference of logits ratio: APGD-CE and APGD-DLR of Croce & Hein (ICML 2020)."""

from torch import Tensor, nn

from stages.lib.attacks.attack import Loss, Perturb, check_not_negative, cross_entropy
from stages.lib.attacks.autoattack.ascent import ascend
from stages.lib.attacks.autoattack.ratios import ratio
from stages.lib.attacks.standing import one_of
from stages.lib.norms.table import norm_of

LOSSES: dict[str, Loss] = {"cross_entropy": cross_entropy, "dlr": ratio}


def make(*, norm: str, eps: float, loss: str = "cross_entropy", steps: int = 100, restarts: int = 1) -> Perturb:
    """The attack of a radius.

    Args:
        norm: a name of `norms.table`.
        eps: radius in pixel units of [0, 1] images; 0 leaves the images as they are.
        loss: a key of `LOSSES`.
        steps: of the ascent; 100 as published.
        restarts: random starts, each for the images that still stand; 1 in the standard AutoAttack.

    Raises:
        ValueError: for an unknown norm or loss, an eps outside [0, inf), fewer than 1 step or start; and, on the call, for x outside
            [0, 1], and for an eps beyond what lies within.
    """
    ball = norm_of(norm)
    check_not_negative("eps", eps)
    check_counts(steps=steps, restarts=restarts)
    if loss not in LOSSES:
        raise ValueError(f"loss is {loss!r}; allowed: {', '.join(LOSSES)}")

    def climb(model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        return ascend(model, x, y, lambda logits, rows: LOSSES[loss](logits, y[rows]), ball=ball, eps=eps, steps=steps)

    return one_of(lambda model, x: [climb] * restarts, ball, eps)


def check_counts(**counts: int) -> None:
    """
    Raises:
        ValueError: for a count below 1, by its name.
    """
    for name, count in counts.items():
        if count < 1:
            raise ValueError(f"{name} is {count}; allowed: an integer from 1")
