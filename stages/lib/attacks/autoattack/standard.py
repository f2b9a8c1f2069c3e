"""The standard AutoAttack (Croce & Hein, ICML 2020): four attacks, each on the images that stand against those before it.

APGD-CE and APGD-T of 100 steps, FAB-T of 100 steps, and the Square Attack of 5,000 queries; 9 targets and one start each.
"""

from torch import Tensor, nn

from stages.lib.attacks.attack import Perturb, in_eval_mode
from stages.lib.attacks.autoattack import apgd, apgd_targeted, fab_targeted, square
from stages.lib.attacks.standing import in_turn


def make(*, norm: str, eps: float, steps: int = 100, targets: int = 9, queries: int = 5000) -> Perturb:
    """The attack of a radius; it is the standard only with the numbers that are given here.

    Args:
        norm: l2 or linf.
        eps: radius in pixel units of [0, 1] images; 0 leaves the images as they are.
        steps: of APGD and FAB.
        targets: of APGD-T and FAB-T; all other classes where there are fewer.
        queries: of the Square Attack.

    Raises:
        ValueError: as the four attacks.
    """
    attacks = [
        apgd.make(norm=norm, eps=eps, steps=steps),
        apgd_targeted.make(norm=norm, eps=eps, steps=steps, targets=targets),
        fab_targeted.make(norm=norm, eps=eps, steps=steps, targets=targets),
        square.make(norm=norm, eps=eps, queries=queries),
    ]

    def perturb(model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        if eps == 0:
            return x.detach()
        with in_eval_mode(model):
            return in_turn(attacks, model, x, y)

    return perturb
