"""The fast gradient sign method: one step over the whole radius (Goodfellow et al. 2015)."""

from typing import Any

from stages.lib.attacks import pgd
from stages.lib.attacks.attack import Perturb


def make(*, norm: str, eps: float, **settings: Any) -> Perturb:
    """The attack of a radius; further settings as for `pgd.make`."""
    return pgd.make(norm=norm, eps=eps, steps=1, step_ratio=1.0, **settings)
