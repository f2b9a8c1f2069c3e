"""A set in a file that an installed package carries, copied from there and compared with its checksum."""

import gzip
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
from pydantic import Field

from stages.lib.datasets.kinds.base import Dataset, Split, bring_files
from stages.lib.datasets.sets import RAW, stratified_split
from stages.lib.errors import RunError
from stages.lib.settings.catalog import File
from stages.lib.settings.fields import Count, Seed, Sha256
from stages.lib.settings.params import DATA_CATALOG
from stages.lib.settings.sections import DownloadSettings

DIGITS_SIZE = 8  # pixels a side


class Packaged(Dataset):
    """The settings of such a set, and how it is brought, read and counted."""

    kind: Literal["packaged"]
    classes: Annotated[Count, Field(ge=2)]
    train: Count
    test: Count
    package: str
    file: str  # in the folder of the package
    sha256: Sha256
    reader: Literal["digits_csv"]
    split_seed: Seed

    def bring(self, name: str, settings: DownloadSettings) -> list[str]:
        top, *rest = self.package.split(".")
        spec = find_spec(top)  # of the top package alone, as looking further would import it
        if spec is None or spec.origin is None:
            raise RunError(f"{DATA_CATALOG}: {name}.package is {self.package!r}, which is not installed")
        installed = Path(spec.origin).parent.joinpath(*rest, self.file)
        return bring_files(name, [File(name=self.file, mirrors=[str(installed)], sha256=self.sha256)], settings)

    def read(self, name: str, image_size: int) -> Iterator[Split]:
        x, y = read_digits_csv(RAW / name / self.file)
        train, test = stratified_split(y, self.train, self.split_seed)
        yield from (("train", x[train], y[train]), ("test", x[test], y[test]))

    def native_size(self, image_size: int) -> int:
        return DIGITS_SIZE


Entry = Packaged


def read_digits_csv(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """The UCI digits as scikit-learn carries them: 64 pixels of 0 to 16 and the label, one image a line.

    Returns:
        x: uint8 [1797, 8, 8, 1], 16 becoming 255, and y: int64 [1797].
    """
    try:
        with gzip.open(path, "rt") as file:
            table = np.loadtxt(file, delimiter=",", dtype=np.int64, ndmin=2)
        if table.shape[1] != 65:
            raise ValueError(f"{table.shape[1]} columns")
    except (OSError, EOFError, ValueError) as error:
        raise RunError(f"{path}: not the gzipped table of digits that was expected ({error})") from None
    x = np.round(table[:, :64] * (255 / 16)).astype(np.uint8)
    return x.reshape(-1, DIGITS_SIZE, DIGITS_SIZE, 1), table[:, 64]
