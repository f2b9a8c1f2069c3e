"""Which attacks there are: to add one, add its file with a function `make`, its settings (`settings.attacks`), and its line here."""

from typing import TYPE_CHECKING, Any

from stages.lib.choice import module_of

if TYPE_CHECKING:  # torch takes seconds to import
    from stages.lib.attacks.attack import Perturb

ATTACKS = {
    "pgd": "stages.lib.attacks.pgd",
    "fgsm": "stages.lib.attacks.fgsm",
    "gaussian": "stages.lib.attacks.gaussian",
    "random_search": "stages.lib.attacks.random_search",
    "apgd": "stages.lib.attacks.autoattack.apgd",
    "apgd_targeted": "stages.lib.attacks.autoattack.apgd_targeted",
    "fab_targeted": "stages.lib.attacks.autoattack.fab_targeted",
    "square": "stages.lib.attacks.autoattack.square",
    "autoattack": "stages.lib.attacks.autoattack.standard",
    "apgd_pgd": "stages.lib.attacks.autoattack.apgd_pgd",
}


def make(kind: str, *, norm: str, eps: float, **settings: Any) -> "Perturb":
    """The attack of a kind within a ball.

    Args:
        settings: of the kind, as its module's `make` takes them.

    Raises:
        ValueError: for a kind that is not in the table, and for settings that the kind refuses.
    """
    return module_of(ATTACKS, kind, "attack").make(norm=norm, eps=eps, **settings)
