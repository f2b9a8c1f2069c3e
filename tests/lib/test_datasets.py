"""Image sets on disk: what is written is what is read, and the digits are those of scikit-learn."""

import gzip
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits

from stages.lib import datasets, files, params, procedural
from stages.lib.errors import RunError

CATALOG = Path(__file__).resolve().parents[2] / params.DATA_CATALOG
PACKAGED = Path(find_spec("sklearn").origin).parent / "datasets" / "data" / "digits.csv.gz"


@pytest.fixture(autouse=True)
def _workspace(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def test_a_split_comes_back_as_it_was_saved():
    x = np.random.default_rng(0).integers(0, 256, (6, 5, 5, 3), np.uint8)
    y = np.arange(6) % 3
    datasets.save(datasets.IMAGES / "it", "train", x, y)
    found_x, found_y = datasets.load("it", "train")
    assert isinstance(found_x, np.memmap)
    assert not found_x.flags.writeable
    assert np.array_equal(found_x, x)
    assert np.array_equal(found_y, y)


@pytest.mark.parametrize("part", ["x", "y"])
@pytest.mark.parametrize(
    "damage", [None, b"", b"<html>", b"\x93NUMPY", "truncated"], ids=["missing", "empty", "page", "start", "truncated"]
)
def test_a_split_that_cannot_be_read_is_one_line(part, damage):
    datasets.save(datasets.IMAGES / "it", "train", np.zeros((6, 5, 5, 1), np.uint8), np.zeros(6, np.int64))
    path = datasets.IMAGES / "it" / f"train_{part}.npy"
    content = path.read_bytes()
    path.unlink() if damage is None else path.write_bytes(content[:-1] if damage == "truncated" else damage)
    with pytest.raises(RunError, match="data/images/it: train cannot be read") as error:
        datasets.load("it", "train")
    assert "\n" not in str(error.value)


def test_a_card_that_is_missing_is_one_line():
    with pytest.raises(RunError, match=r"data/images/it/card\.json: the file is missing"):
        datasets.card_of("it")


def test_a_card_comes_back():
    splits = {"train": datasets.SplitCard(n=3, sha256="0")}
    card = datasets.Card(name="it", classes=2, channels=1, image_size=8, mean=[0.1] * 3, std=[0.2] * 3, splits=splits)
    files.write_json(datasets.IMAGES / "it" / "card.json", card.model_dump())
    assert datasets.card_of("it") == card


def test_the_digits_are_those_of_scikit_learn():
    x, y = datasets.read_digits_csv(PACKAGED)
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
        datasets.read_digits_csv(path)
    assert "\n" not in str(error.value)


def test_the_digits_are_split_by_class_and_every_image_is_in_one_split():
    _, y = datasets.read_digits_csv(PACKAGED)
    train, test = datasets.stratified_split(y, 1000, seed=0)
    assert (len(train), len(test)) == (1000, 797)
    assert np.array_equal(np.sort(np.concatenate([train, test])), np.arange(1797))
    assert np.array_equal(train, np.sort(train))
    assert np.array_equal(test, np.sort(test))
    assert np.abs(np.bincount(y[train]) - np.bincount(y) * 1000 / 1797).max() < 1
    again, _ = datasets.stratified_split(y, 1000, seed=0)
    other, _ = datasets.stratified_split(y, 1000, seed=1)
    assert np.array_equal(train, again)
    assert not np.array_equal(train, other)


def test_the_raw_splits_of_the_digits_follow_the_catalog():
    entry = params.dataset_entry("digits", CATALOG)
    files.write_bytes(datasets.RAW / "digits" / entry.file, PACKAGED.read_bytes())
    splits = {split: (x, y) for split, x, y in datasets.splits_of_raw("digits", entry)}
    assert {split: len(x) for split, (x, _) in splits.items()} == {"train": entry.train, "test": entry.test}
    x, y = datasets.read_digits_csv(PACKAGED)
    rows, _ = datasets.stratified_split(y, entry.train, entry.split_seed)
    assert np.array_equal(splits["train"][0], x[rows])
    assert np.array_equal(splits["train"][1], y[rows])


def test_the_raw_splits_of_a_procedural_set_are_those_that_were_saved():
    entry = params.dataset_entry("glyphs", CATALOG).model_copy(update={"train": 24, "test": 24, "size": 8})
    drawn = {split: procedural.draw(entry, split) for split in procedural.splits_of(entry)}
    for split, (x, y) in drawn.items():
        datasets.save(datasets.RAW / "glyphs", split, x, y)
    found = {split: (x, y) for split, x, y in datasets.splits_of_raw("glyphs", entry)}
    assert found.keys() == drawn.keys()
    assert all(np.array_equal(found[split][part], drawn[split][part]) for split in drawn for part in (0, 1))


@pytest.mark.parametrize("channels", [1, 3])
def test_up_scaling_is_bilinear_as_torch_has_it(channels):
    x = np.random.default_rng(0).integers(0, 256, (4, 8, 8, channels), np.uint8)
    found = datasets.resize(x, 29)
    exact = torch.nn.functional.interpolate(
        torch.from_numpy(x).permute(0, 3, 1, 2).double(), 29, mode="bilinear", align_corners=False, antialias=True
    )
    assert (found.shape, found.dtype) == ((4, 29, 29, channels), np.uint8)
    assert np.abs(found - exact.permute(0, 2, 3, 1).numpy()).max() < 1.1


def test_images_of_the_right_size_stay_as_they_are():
    x = np.random.default_rng(0).integers(0, 256, (4, 8, 8, 3), np.uint8)
    assert np.array_equal(datasets.resize(x, 8), x)
