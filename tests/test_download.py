"""Raw sets: drawn from a seed or copied out of a package, and verified."""

import gzip

import numpy as np
import pytest

from stages import download
from stages.lib.errors import RunError


def test_a_procedural_set_is_the_same_every_time(workspace):
    download.main("glyphs")
    first = {path.name: path.read_bytes() for path in (workspace.folder / "data/raw/glyphs").iterdir()}
    download.main("glyphs")
    assert {path.name: path.read_bytes() for path in (workspace.folder / "data/raw/glyphs").iterdir()} == first
    assert set(first) == {f"{split}_{part}.npy" for split in ("train", "test", "test_decorrelated") for part in "xy"}


def test_the_digits_are_the_handwriting_that_scikit_learn_carries(workspace):
    download.main("digits")
    with gzip.open(workspace.folder / "data/raw/digits/digits.csv.gz", "rt") as file:
        assert np.loadtxt(file, delimiter=",").shape == (1797, 65)


def test_a_wrong_checksum_leaves_nothing(workspace):
    workspace.edit("data/catalog.yaml", digits__sha256="0" * 64)
    with pytest.raises(RunError, match=r"sha256 is 09f66e6d.*allowed: 0000"):
        download.main("digits")
    assert not list((workspace.folder / "data/raw/digits").glob("*"))


def test_a_package_that_is_not_installed_is_named(workspace):
    workspace.edit("data/catalog.yaml", digits__package="no_such_package.data")
    with pytest.raises(RunError, match=r"data/catalog.yaml: digits.package is 'no_such_package.data'"):
        download.main("digits")
