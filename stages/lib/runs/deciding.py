"""The code that decides a result, for its key: the module that computes it, and the chosen modules of norms, attacks and families."""

from collections.abc import Mapping
from typing import Any

from stages.lib.attacks.table import ATTACKS
from stages.lib.networks.families.table import FAMILIES
from stages.lib.networks.names import OPEN, known
from stages.lib.norms.table import NORMS
from stages.lib.store import code


def code_of(module: str, *chosen: tuple[str, ...]) -> dict[str, str]:
    """The part of a key that holds the code, and the versions of torch and of a library of networks (`names.OPEN`) that is chosen.

    Args:
        module: dotted name of the module that computes the result in a worker.
        chosen: modules of the choices, as the functions below give them.
    """
    named = [name for names in chosen for name in names]
    libraries = {library: code.version_of(library) for library, family in OPEN.items() if family in named}
    return {"code": code.digest(module, *named), "torch": code.version_of("torch")} | libraries


def modules_of_architecture(name: str) -> tuple[str, ...]:
    """The family that builds networks of this architecture; of an open family, also the module by which its names are found."""
    family = FAMILIES[known(name)]
    return (family, known.__module__) if family in OPEN.values() else (family,)


def modules_of_norm(name: str) -> tuple[str, ...]:
    """The norm of this name."""
    return (NORMS[name],)


def modules_of_attack(settings: Mapping[str, Any]) -> tuple[str, ...]:
    """The attack of the settings' `kind`; none for free training and settings without a kind, whose code belongs to what runs it."""
    kind = settings.get("kind")
    return (ATTACKS[kind],) if kind in ATTACKS else ()
