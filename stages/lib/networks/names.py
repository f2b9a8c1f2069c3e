"""Names of architectures: those of the table of families, and open ones such as `timm/convnext_tiny`, of which there are too many.

An open name begins with its family. Whoever reads one asks `known`, which enters it in this process's table of families; a name that is
sent to another process enters itself there. So all that builds networks finds them by name alone, and no key knows of names in general.
"""

from stages.lib.networks.families.table import FAMILIES

OPEN = {"timm": "stages.lib.networks.timm.family"}


class OpenName(str):
    """The name of an architecture of an open family, which the process that unpickles it knows from then on."""

    __slots__ = ()

    def __reduce__(self) -> tuple:
        return known, (str(self),)


def known(architecture: str) -> str:
    """The name, which the table of families has from now on if its family is open; any other name as it is."""
    family, slash, _ = architecture.partition("/")
    if not slash or family not in OPEN:
        return architecture
    FAMILIES.setdefault(str(architecture), OPEN[family])
    return OpenName(architecture)
