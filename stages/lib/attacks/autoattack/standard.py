"""The standard AutoAttack (Croce & Hein, ICML 2020): four attacks, each on the images that stand against those before it.

APGD-CE and APGD-T of 100 steps, FAB-T of 100 steps, and the Square Attack of 5,000 queries; 9 targets and one start each.
"""

from stages.lib.attacks.attack import Perturb
from stages.lib.attacks.autoattack import apgd, apgd_targeted, fab_targeted, square
from stages.lib.attacks.standing import one_of
from stages.lib.norms.table import norm_of


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
    return one_of(lambda model, x: attacks, norm_of(norm), eps)
