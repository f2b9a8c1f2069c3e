"""The entries of data/catalog.yaml: which image sets exist, each of one of the kinds that are listed here.

A kind is added as a file in `kinds/` and a word in each of two lines below; what has no entry type here can reach no reader.
"""

from functools import reduce
from operator import or_
from pathlib import Path
from typing import Annotated

from pydantic import Field

from stages.lib.datasets.kinds import detection, folder, packaged, photographs, procedural, published, scenes
from stages.lib.datasets.kinds.base import Dataset
from stages.lib.errors import RunError
from stages.lib.settings.params import DATA_CATALOG, entry_of, parse, read_yaml

KINDS = (procedural, packaged, published, photographs, folder, detection, scenes)
AnyDataset = Annotated[reduce(or_, (kind.Entry for kind in KINDS)), Field(discriminator="kind")]


def dataset_entry(name: str, path: Path = DATA_CATALOG) -> Dataset:
    return parse(AnyDataset, entry_of(read_yaml(path), name, path), path, name)


def known(name: str) -> Dataset | None:
    """The entry, for what `check` asks a study; None where it cannot be read, which `check` says by itself."""
    try:
        return dataset_entry(name)
    except RunError:
        return None
