"""Raw image sets as arrays: the digits are those of scikit-learn, and each kind comes by its reader."""

import gzip
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import served
from sklearn.datasets import load_digits

from stages.lib.datasets import procedural, raw, sets
from stages.lib.errors import RunError
from stages.lib.settings import params
from stages.lib.settings.catalog import Folder
from stages.lib.store import files

CATALOG = Path(__file__).resolve().parents[3] / params.DATA_CATALOG
PACKAGED = Path(find_spec("sklearn").origin).parent / "datasets" / "data" / "digits.csv.gz"


@pytest.fixture(autouse=True)
def _workspace(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))


def test_the_digits_are_those_of_scikit_learn():
    x, y = raw.read_digits_csv(PACKAGED)
    known = load_digits()
    assert (x.shape, x.dtype, y.dtype) == ((1797, 8, 8, 1), np.uint8, np.int64)
    assert np.array_equal(x[..., 0], np.round(known.images * 255 / 16).astype(np.uint8))
    assert np.array_equal(y, known.target)
    assert x.max() == 255


def test_the_catalog_knows_the_hash_of_the_digits():
    assert files.sha256_of(PACKAGED) == params.dataset_entry("digits", CATALOG).sha256


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
        raw.read_digits_csv(path)
    assert "\n" not in str(error.value)


def test_the_raw_splits_of_the_digits_follow_the_catalog():
    entry = params.dataset_entry("digits", CATALOG)
    files.write_bytes(sets.RAW / "digits" / entry.file, PACKAGED.read_bytes())
    splits = {split: (x, y) for split, x, y in raw.splits_of("digits", entry, 16)}
    assert {split: len(x) for split, (x, _) in splits.items()} == {"train": entry.train, "test": entry.test}
    x, y = raw.read_digits_csv(PACKAGED)
    rows, _ = sets.stratified_split(y, entry.train, entry.split_seed)
    assert np.array_equal(splits["train"][0], x[rows])
    assert np.array_equal(splits["train"][1], y[rows])


def test_the_raw_splits_of_a_procedural_set_are_those_that_were_saved():
    entry = params.dataset_entry("glyphs", CATALOG).model_copy(update={"train": 24, "test": 24, "size": 8})
    drawn = {split: procedural.draw(entry, split) for split in procedural.splits_of(entry)}
    for split, (x, y) in drawn.items():
        sets.save(sets.RAW / "glyphs", split, x, y)
    found = {split: (x, y) for split, x, y in raw.splits_of("glyphs", entry, 16)}
    assert found.keys() == drawn.keys()
    assert all(np.array_equal(found[split][part], drawn[split][part]) for split in drawn for part in (0, 1))


def test_the_raw_splits_of_a_published_set_come_from_its_archives_and_leave_nothing_extracted(tmp_path):
    entry = params.dataset_entry("svhn", CATALOG)
    made = served.svhn(np.random.default_rng(0), train=30, test=20)
    for name, content in made.items():
        files.write_bytes(sets.RAW / "svhn" / name, content)
    known = [{"size": len(made[f.name]), "md5": None, "sha256": None} for f in entry.files]
    entry = entry.model_copy(update={"files": [f.model_copy(update=k) for f, k in zip(entry.files, known, strict=True)]})
    assert {split: (len(x), len(y)) for split, x, y in raw.splits_of("svhn", entry, 16)} == {"train": (30, 30), "test": (20, 20)}
    assert not list((tmp_path / ".cells/extracted").iterdir())


@pytest.mark.parametrize("kind", ["zip", "gz", "xz"])
def test_the_raw_splits_of_an_archived_folder_are_decoded_from_it(tmp_path, kind):
    content = served.folder_archive(np.random.default_rng(0), train=5, test=3, classes=3, kind=kind)
    files.write_bytes(sets.RAW / "mine" / "mine.archive", content)
    entry = Folder(kind="folder", files=[{"name": "mine.archive", "mirrors": ["http://host.invalid/x"]}])
    for split, x, y in raw.splits_of("mine", entry, 16):
        n = {"train": 5, "test": 3}[split]
        assert (x.shape, len(x)) == ((3 * n, 16, 16, 3), 3 * n)
        assert np.array_equal(y, np.repeat(np.arange(3), n))
        assert x[:].shape == x.shape
        assert np.array_equal(x[2:7], x[:][2:7])
    assert not list((tmp_path / ".cells/extracted").iterdir())
