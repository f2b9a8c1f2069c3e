"""Image sets on disk: what is written is what is read, and a split has every class in proportion."""

import numpy as np
import pytest
from sklearn.datasets import load_digits

from stages.lib.datasets import sets
from stages.lib.errors import RunError
from stages.lib.store import files


@pytest.fixture(autouse=True)
def _workspace(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def test_a_split_comes_back_as_it_was_saved():
    x = np.random.default_rng(0).integers(0, 256, (6, 5, 5, 3), np.uint8)
    y = np.arange(6) % 3
    sha256 = sets.save(sets.IMAGES / "it", "train", x, y)
    found_x, found_y = sets.load("it", "train", sha256)
    assert isinstance(found_x, np.memmap)
    assert not found_x.flags.writeable
    assert np.array_equal(found_x, x)
    assert np.array_equal(found_y, y)


@pytest.mark.parametrize("part", ["x", "y"])
@pytest.mark.parametrize(
    "damage", [None, b"", b"<html>", b"\x93NUMPY", "truncated"], ids=["missing", "empty", "page", "start", "truncated"]
)
def test_a_split_that_cannot_be_read_is_one_line(part, damage):
    sets.save(sets.IMAGES / "it", "train", np.zeros((6, 5, 5, 1), np.uint8), np.zeros(6, np.int64))
    path = sets.IMAGES / "it" / f"train_{part}.npy"
    content = path.read_bytes()
    path.unlink() if damage is None else path.write_bytes(content[:-1] if damage == "truncated" else damage)
    with pytest.raises(RunError, match="data/images/it: train cannot be read") as error:
        sets.load("it", "train", "0" * 64)
    assert "\n" not in str(error.value)


def test_a_card_that_is_missing_is_one_line():
    with pytest.raises(RunError, match=r"data/images/it/card\.json: the file is missing"):
        sets.card_of("it")


@pytest.mark.parametrize("content", [{}, {"name": "it", "classes": 2}, [1]])
def test_a_card_of_another_form_is_one_line(content):
    files.write_json(sets.IMAGES / "it" / "card.json", content)
    with pytest.raises(RunError, match=r"data/images/it/card\.json: no card of a dataset") as error:
        sets.card_of("it")
    assert "\n" not in str(error.value)


def test_a_card_comes_back():
    splits = {"train": sets.SplitCard(n=3, sha256="0")}
    card = sets.DatasetCard(name="it", classes=2, channels=1, image_size=8, stored_size=8, mean=[0.1] * 3, std=[0.2] * 3, splits=splits)
    files.write_json(sets.IMAGES / "it" / "card.json", card.model_dump())
    assert sets.card_of("it") == card


def test_the_digits_are_split_by_class_and_every_image_is_in_one_split():
    y = load_digits().target
    train, test = sets.stratified_split(y, 1000, seed=0)
    assert (len(train), len(test)) == (1000, 797)
    assert np.array_equal(np.sort(np.concatenate([train, test])), np.arange(1797))
    assert np.array_equal(train, np.sort(train))
    assert np.array_equal(test, np.sort(test))
    assert np.abs(np.bincount(y[train]) - np.bincount(y) * 1000 / 1797).max() < 1
    again, _ = sets.stratified_split(y, 1000, seed=0)
    other, _ = sets.stratified_split(y, 1000, seed=1)
    assert np.array_equal(train, again)
    assert not np.array_equal(train, other)
