"""APGD-CE, APGD-T and then PGD on the margin, each on the images that stand against those before it: the default evaluation.

It is the part of AutoAttack that finds nearly all errors, with fewer steps, and PGD with restarts in place of FAB-T and Square.
docs/robustness.md says how many images it leaves that the standard AutoAttack does not.
"""

from stages.lib.attacks import pgd
from stages.lib.attacks.attack import Perturb
from stages.lib.attacks.autoattack import apgd, apgd_targeted
from stages.lib.attacks.standing import one_of
from stages.lib.norms.table import norm_of

STEP_RATIO = 5.0  # of PGD: long steps found more errors than 2.5 did


def make(*, norm: str, eps: float, steps: int = 20, targets: int = 9, restarts: int = 2) -> Perturb:
    """The attack of a radius.

    Args:
        norm: a name of `norms.table`.
        eps: radius in pixel units of [0, 1] images; 0 leaves the images as they are.
        steps: of each ascent.
        targets: of APGD-T; all other classes where there are fewer.
        restarts: random starts of PGD.

    Raises:
        ValueError: as the three attacks.
    """
    attacks = [
        apgd.make(norm=norm, eps=eps, steps=steps),
        apgd_targeted.make(norm=norm, eps=eps, steps=steps, targets=targets),
        pgd.make(norm=norm, eps=eps, steps=steps, step_ratio=STEP_RATIO, loss="margin", random_start=True, restarts=restarts),
    ]
    return one_of(lambda model, x: attacks, norm_of(norm), eps)
