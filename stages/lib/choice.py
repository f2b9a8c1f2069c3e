"""One module out of several, chosen by a name: a norm, an attack, an architecture family.

A table of choices is a dict literal from names to the dotted names of modules. It imports none of them, so that a result of one
choice does not depend on the others: the key of a result holds the chosen module (`store.code`), and a new one changes no key.
"""

from collections.abc import Mapping
from importlib import import_module
from types import ModuleType


def module_of(table: Mapping[str, str], name: str, key: str) -> ModuleType:
    """Import the chosen module and return it.

    Args:
        key: the setting that chooses, as the error names it: `norm`.

    Raises:
        ValueError: names the key, its value and the names that are allowed.
    """
    if name not in table:
        raise ValueError(f"{key} is {name!r}; allowed: {', '.join(table)}")
    return import_module(table[name])
