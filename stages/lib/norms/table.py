"""Which norms there are: to add one, add its file, whose `NORM` describes it, and its line here."""

from stages.lib.choice import module_of
from stages.lib.norms.norm import Norm

NORMS = {
    "l2": "stages.lib.norms.l2",
    "linf": "stages.lib.norms.linf",
}


def norm_of(name: str) -> Norm:
    """The norm of a name.

    Raises:
        ValueError: for a name that is not in the table.
    """
    return module_of(NORMS, name, "norm").NORM


def all_norms() -> list[Norm]:
    return [norm_of(name) for name in NORMS]
