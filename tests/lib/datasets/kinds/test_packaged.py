"""A set that an installed package carries: the digits are those of scikit-learn."""

import gzip
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from sklearn.datasets import load_digits

from stages.lib.datasets import catalog, sets
from stages.lib.datasets.kinds import packaged
from stages.lib.errors import RunError
from stages.lib.settings import params
from stages.lib.store import files

CATALOG = Path(__file__).resolve().parents[4] / params.DATA_CATALOG
PACKAGED = Path(find_spec("sklearn").origin).parent / "datasets" / "data" / "digits.csv.gz"


@pytest.fixture(autouse=True)
def _workspace(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))


def test_the_digits_are_those_of_scikit_learn():
    x, y = packaged.read_digits_csv(PACKAGED)
    known = load_digits()
    assert (x.shape, x.dtype, y.dtype) == ((1797, 8, 8, 1), np.uint8, np.int64)
    assert np.array_equal(x[..., 0], np.round(known.images * 255 / 16).astype(np.uint8))
    assert np.array_equal(y, known.target)
    assert x.max() == 255


def test_the_catalog_knows_the_hash_of_the_digits():
    assert files.sha256_of(PACKAGED) == catalog.dataset_entry("digits", CATALOG).sha256


def flipped(content: bytes) -> bytes:
    middle = len(content) // 2
    return content[:middle] + bytes(255 - byte for byte in content[middle : middle + 40]) + content[middle + 40 :]


@pytest.mark.parametrize(
    "damage",
    [lambda c: c[: len(c) // 2], flipped, lambda _: b"1,2,3\n", lambda _: gzip.compress(b"<html>"), lambda _: gzip.compress(b"1,2,3\n")],
    ids=["truncated", "flipped", "not gzipped", "page", "too few columns"],
)
def test_damaged_digits_are_one_line(damage):
    path = Path("digits.csv.gz")
    path.write_bytes(damage(PACKAGED.read_bytes()))
    with pytest.raises(RunError, match=r"digits\.csv\.gz: not the gzipped table") as error:
        packaged.read_digits_csv(path)
    assert "\n" not in str(error.value)


def test_the_raw_splits_of_the_digits_follow_the_catalog():
    entry = catalog.dataset_entry("digits", CATALOG)
    files.write_bytes(sets.RAW / "digits" / entry.file, PACKAGED.read_bytes())
    splits = {split: (x, y) for split, x, y in entry.read("digits", 16)}
    assert {split: len(x) for split, (x, _) in splits.items()} == {"train": entry.train, "test": entry.test}
    x, y = packaged.read_digits_csv(PACKAGED)
    rows, _ = sets.stratified_split(y, entry.train, entry.split_seed)
    assert np.array_equal(splits["train"][0], x[rows])
    assert np.array_equal(splits["train"][1], y[rows])
    assert {x.shape[1] for x, _ in splits.values()} == {entry.native_size(16)}
