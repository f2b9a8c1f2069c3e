"""APGD-T: APGD on the targeted difference of logits ratio, for each of several targets (Croce & Hein, ICML 2020, Section 4.2)."""

from functools import partial

from torch import Tensor, nn

from stages.lib.attacks.attack import Perturb, check_not_negative
from stages.lib.attacks.autoattack.apgd import check_counts
from stages.lib.attacks.autoattack.ascent import ascend
from stages.lib.attacks.autoattack.ratios import ranked_target, targeted_ratio, targets_at_hand
from stages.lib.attacks.standing import one_of
from stages.lib.norms.table import norm_of


def make(*, norm: str, eps: float, steps: int = 100, targets: int = 9, restarts: int = 1) -> Perturb:
    """The attack of a radius.

    Args:
        norm: a name of `norms.table`.
        eps: radius in pixel units of [0, 1] images; 0 leaves the images as they are.
        steps: of the ascent towards one target; 100 as published.
        targets: the classes with the highest logits but the label; 9 as published, or all others where there are fewer.
        restarts: random starts for each target; 1 in the standard AutoAttack.

    Raises:
        ValueError: for an unknown norm, an eps outside [0, inf), a count below 1; and, on the call, for x outside [0, 1], and for an
            eps beyond what lies within.
    """
    ball = norm_of(norm)
    check_not_negative("eps", eps)
    check_counts(steps=steps, targets=targets, restarts=restarts)

    def climb(model: nn.Module, x: Tensor, y: Tensor, *, rank: int) -> Tensor:
        target = ranked_target(model, x, y, rank)
        return ascend(model, x, y, lambda logits, rows: targeted_ratio(logits, y[rows], target[rows]), ball=ball, eps=eps, steps=steps)

    def climbs(model: nn.Module, x: Tensor) -> list[Perturb]:
        return [partial(climb, rank=rank) for rank in range(targets_at_hand(model, x, targets)) for _ in range(restarts)]

    return one_of(climbs, ball, eps)
