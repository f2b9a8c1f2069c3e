"""One module out of several, chosen by a name: a norm, an attack, an architecture family.

A table of choices is a dict literal from names to the dotted names of modules. It imports none of them, so that what is made of one
choice does not follow from the others: the key of a result holds the chosen module (`store.code`), and a new one changes no key.
"""

from collections.abc import Mapping
from importlib import import_module
from types import ModuleType


def module_of(table: Mapping[str, str], name: str, what: str) -> ModuleType:
    """The chosen module, imported.

    Args:
        what: the table holds, as an error calls it: `norm`.

    Raises:
        ValueError: names what is chosen, what was asked for and what is allowed.
    """
    if name not in table:
        raise ValueError(f"{what} is {name!r}; allowed: {', '.join(table)}")
    return import_module(table[name])
