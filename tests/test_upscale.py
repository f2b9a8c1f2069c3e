"""Images at the size of the sources, in arrays that are written in chunks and read memory-mapped."""

import gzip
import json

import numpy as np
import pytest
import torch
from PIL import Image

from stages import download, upscale
from stages.lib.datasets import load
from stages.lib.errors import RunError


@pytest.fixture
def digits(workspace):
    download.main("digits")
    upscale.main("digits")
    return workspace


def test_splits_have_the_shapes_and_types_of_the_contract(digits):
    for split, n in (("train", 1000), ("test", 797)):
        x, y = load("digits", split)
        assert (x.shape, x.dtype, y.shape, y.dtype) == ((n, 16, 16, 1), np.uint8, (n,), np.int64)
        assert isinstance(x, np.memmap)


def test_every_image_equals_pillows_bilinear_resize_of_the_file(digits):
    with gzip.open("data/raw/digits/digits.csv.gz", "rt") as file:
        table = np.loadtxt(file, delimiter=",")
    raw = np.round(table[:, :64].reshape(-1, 8, 8) * 255 / 16).astype(np.uint8)
    expected = {Image.fromarray(image).resize((16, 16), Image.Resampling.BILINEAR).tobytes() for image in raw}
    x = np.concatenate([load("digits", split)[0] for split in ("train", "test")])
    assert {image.tobytes() for image in x} == expected


def test_the_split_is_stratified_and_disjoint(digits):
    (train_x, train_y), (_, test_y) = load("digits", "train"), load("digits", "test")
    assert np.ptp(np.bincount(train_y) / 1000 - np.bincount(test_y) / 797) < 0.005
    assert len(train_x) + len(test_y) == 1797


def test_the_card_holds_mean_and_std_of_the_training_images(digits):
    card = json.loads((digits.folder / "data/images/digits/card.json").read_text())
    pixels = load("digits", "train")[0] / 255
    assert card["mean"] == pytest.approx([pixels.mean()] * 3, abs=1e-4)
    assert card["std"] == pytest.approx([pixels.std()] * 3, abs=1e-4)


def test_a_set_that_is_not_what_the_catalog_says_is_refused(workspace):
    download.main("digits")
    workspace.edit("data/catalog.yaml", digits__classes=11)
    with pytest.raises(RunError, match=r"data/catalog.yaml: digits: its \w+ split has 10 classes; the entry says 11"):
        upscale.main("digits")


def test_a_damaged_raw_file_is_named(workspace):
    download.main("digits")
    path = workspace.folder / "data/raw/digits/digits.csv.gz"
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(RunError, match=r"data/raw/digits/digits.csv.gz: not the gzipped table"):
        upscale.main("digits")


@pytest.mark.parametrize("channels", [1, 3])
def test_up_scaling_is_bilinear_as_torch_has_it(channels):
    x = np.random.default_rng(0).integers(0, 256, (4, 8, 8, channels), np.uint8)
    found = upscale.resize(x, 29)
    exact = torch.nn.functional.interpolate(
        torch.from_numpy(x).permute(0, 3, 1, 2).double(), 29, mode="bilinear", align_corners=False, antialias=True
    )
    assert (found.shape, found.dtype) == ((4, 29, 29, channels), np.uint8)
    assert np.abs(found - exact.permute(0, 2, 3, 1).numpy()).max() < 1.1


def test_images_of_the_right_size_stay_as_they_are():
    x = np.random.default_rng(0).integers(0, 256, (4, 8, 8, 3), np.uint8)
    assert np.array_equal(upscale.resize(x, 8), x)
