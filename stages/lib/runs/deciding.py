"""The code that decides a result, for its key: what computes it, and of the choices that it is made with the chosen modules alone."""

from collections.abc import Mapping
from typing import Any

from stages.lib.store import code


def code_of(module: str, *chosen: tuple[str, ...]) -> dict[str, str]:
    """Part of a key.

    Args:
        module: dotted name of what computes the result in a worker.
        chosen: modules of the choices, as the functions below give them.
    """
    return {"code": code.digest(module, *(name for names in chosen for name in names)), "torch": code.torch_version()}


def modules_of_architecture(name: str) -> tuple[str, ...]:
    """The modules that an architecture is made of, beside those that build any network."""
    return ()


def modules_of_norm(name: str) -> tuple[str, ...]:
    """The modules that a norm is made of."""
    return ()


def modules_of_attack(settings: Mapping[str, Any]) -> tuple[str, ...]:
    """The modules that an attack or another perturbation is made of; settings: those of its section, with its `kind`."""
    return ()
