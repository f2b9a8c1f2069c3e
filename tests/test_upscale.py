"""Images at the size of the sources, or at their own, in arrays that are written in chunks and read memory-mapped."""

import gzip
import io
import json
import os
import subprocess
import sys

import numpy as np
import pytest
import served
import torch
from PIL import Image
from repository import dumped, loaded
from torchvision import transforms

from stages import download, upscale
from stages.lib.datasets import pixels as images
from stages.lib.datasets.catalog import dataset_entry
from stages.lib.datasets.sets import card_of, load, save
from stages.lib.errors import RunError
from stages.lib.store import code


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


@pytest.mark.parametrize(("store", "stored"), [("upscaled", 16), ("native", 4)])
def test_a_set_at_a_low_resolution_is_reduced_and_then_up_scaled(workspace, store, stored):
    download.main("digits")
    raw = {split: x for split, x, _ in dataset_entry("digits").read("digits", 16)}
    workspace.edit("data/catalog.yaml", digits__low_resolution=4)
    workspace.edit("params.yaml", upscale__store=store)
    upscale.main("digits")
    assert card_of("digits").stored_size == stored
    for split in ("train", "test"):
        low = np.stack([np.asarray(Image.fromarray(image[..., 0]).resize((4, 4), Image.Resampling.BILINEAR)) for image in raw[split]])
        assert np.array_equal(load("digits", split)[0], upscale.resize(low[..., None], stored))


# Native size


@pytest.mark.parametrize(("image_size", "stored"), [(16, 8), (8, 8), (32, 8)])
def test_native_images_become_on_the_device_what_is_stored_otherwise(workspace, image_size, stored):
    """Within a rounding of one level of 255, so that `store` is a choice of room and time alone."""
    download.main("digits")
    workspace.edit("params.yaml", upscale__image_size=image_size, upscale__store="upscaled")
    upscale.main("digits")
    upscaled, card = {split: load("digits", split)[0].copy() for split in ("train", "test")}, card_of("digits")
    assert (card.image_size, card.stored_size) == (image_size, image_size)
    workspace.edit("params.yaml", upscale__store="native")
    upscale.main("digits")
    card = card_of("digits")
    assert (card.image_size, card.stored_size) == (image_size, stored)
    for split, expected in upscaled.items():
        x, _ = load("digits", split)
        assert x.shape[1:] == (stored, stored, 1)
        on_device = images.prepare(x, torch.device("cpu"), card.image_size)
        assert on_device.shape == (len(x), 3, image_size, image_size)
        assert np.abs(on_device[:, 0].numpy() * 255 - expected[..., 0]).max() < 1.001


def test_native_images_that_are_larger_are_reduced(workspace):
    workspace.edit("params.yaml", upscale__image_size=8, upscale__store="native")
    download.main("glyphs")  # 16 x 16
    upscale.main("glyphs")
    assert load("glyphs", "train")[0].shape == (64, 8, 8, 3)
    assert card_of("glyphs").stored_size == 8


# Folders of images


def mine(workspace, **changes) -> None:
    """A set of one's own, of three classes, with as little in its entry as will do."""
    catalog = loaded(workspace.text("data/catalog.yaml"))
    catalog["mine"] = {"kind": "folder", "path": "data/mine"} | changes
    (workspace.folder / "data/catalog.yaml").write_text(dumped(catalog))


def put(workspace, members: dict[str, bytes]) -> None:
    for name, content in members.items():
        path = workspace.folder / "data/mine" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


@pytest.mark.parametrize("store", ["native", "upscaled"])
@pytest.mark.parametrize("channels", [1, 3])
def test_a_folder_of_images_needs_no_counts(workspace, store, channels):
    mine(workspace, channels=channels)
    put(workspace, served.folder(np.random.default_rng(0), {"train": 5, "test": 2}, classes=3))
    workspace.edit("params.yaml", upscale__store=store)
    download.main("mine")
    upscale.main("mine")
    card = card_of("mine")
    assert (card.classes, card.channels, card.stored_size) == (3, channels, 16)
    assert card.class_names == ["class_0", "class_1", "class_2"]
    assert {split: part.n for split, part in card.splits.items()} == {"train": 15, "test": 6}
    assert load("mine", "train")[0].shape == (15, 16, 16, channels)
    assert load("mine", "test")[1].tolist() == [0, 0, 1, 1, 2, 2]


@pytest.mark.parametrize(
    ("changes", "said"), [({"train": 14}, "15 images; the entry says 14"), ({"classes": 4}, "3 classes; the entry says 4")]
)
def test_counts_of_a_folder_are_compared_where_they_are_given(workspace, changes, said):
    mine(workspace, **changes)
    put(workspace, served.folder(np.random.default_rng(0), {"train": 5, "test": 2}, classes=3))
    download.main("mine")
    with pytest.raises(RunError, match=rf"data/catalog.yaml: mine: its train split has {said}"):
        upscale.main("mine")


def test_an_optional_folder_that_is_not_there_gives_a_card_without_splits(workspace):
    mine(workspace, optional=True, classes=7)
    download.main("mine")
    upscale.main("mine")
    card = card_of("mine")
    assert (card.splits, card.classes, card.mean, card.std) == ({}, 7, None, None)
    put(workspace, served.folder(np.random.default_rng(0), {"test": 2}, classes=7))
    with pytest.raises(RunError, match="has changed since `download` listed it"):
        upscale.main("mine")
    download.main("mine")
    upscale.main("mine")
    assert (list(card_of("mine").splits), card_of("mine").mean) == (["test"], None)


def test_an_image_that_cannot_be_read_leaves_no_array(workspace):
    mine(workspace)
    put(workspace, served.folder(np.random.default_rng(0), {"train": 5, "test": 2}, classes=3) | {"train/class_1/2.JPEG": b"<html>"})
    download.main("mine")
    with pytest.raises(RunError, match=r"data/mine/train/class_1/2\.JPEG: not an image that can be read"):
        upscale.main("mine")
    assert not list((workspace.folder / "data/images/mine").iterdir())


PEAK = """
import sys
from stages import upscale
upscale.main("glyphs")
print(next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmHWM")))
"""


def peak_mib(workspace, n: int) -> float:
    """Most memory of a process that up-scales n images of 32 x 32 pixels to 112 x 112."""
    save(workspace.folder / "data/raw/glyphs", "train", np.zeros((n, 32, 32, 3), np.uint8), np.arange(n) % 4)
    workspace.edit("data/catalog.yaml", glyphs__train=n)
    environment = os.environ | {"PYTHONPATH": str(code.ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", PEAK], cwd=workspace.folder, env=environment, capture_output=True, text=True, check=True, timeout=120
    )
    assert load("glyphs", "train")[0].shape == (n, 112, 112, 3)
    return int(done.stdout.splitlines()[-1]) / 1024


@pytest.mark.skipif(not os.path.exists("/proc/self/status"), reason="the peak of one process alone is told by Linux")
def test_memory_does_not_grow_with_what_is_written(workspace):
    """From 2,000 images to 8,000, 18 MiB more are read and 215 MiB more are written."""
    workspace.edit("params.yaml", upscale__image_size=112)
    assert peak_mib(workspace, 8000) - peak_mib(workspace, 2000) < 60


# Whole images


@pytest.mark.parametrize("channels", [1, 3])
def test_whole_images_of_a_folder_are_stored_in_their_shapes_and_not_larger_than_a_test_needs(workspace, channels):
    """Of images of 20 to 59 pixels a side, with a test at 16 of 20: the shorter side has 20 pixels, the longer one is kept."""
    mine(workspace, channels=channels, crop=0.8)
    members = served.folder(np.random.default_rng(0), {"train": 5, "test": 2}, classes=3)
    put(workspace, members)
    workspace.edit("params.yaml", upscale__store="whole")
    download.main("mine")
    upscale.main("mine")
    card, (x, y) = card_of("mine"), load("mine", "train")
    assert (card.classes, card.channels, card.image_size, card.crop) == (3, channels, 16, 0.8)
    assert x.shape == (15, 16, 16, channels)
    assert y.tolist() == [0] * 5 + [1] * 5 + [2] * 5
    names = sorted(name for name in members if name.startswith("train/"))
    for row, name in enumerate(names):
        with Image.open(io.BytesIO(members[name])) as image:
            resized = transforms.Resize(20)(image.convert("L" if channels == 1 else "RGB"))
        assert np.array_equal(x.image(row), np.asarray(resized).reshape(*resized.size[::-1], channels)), name
    pixels = np.concatenate([x.image(row).reshape(-1, channels) for row in range(15)]) / 255
    assert card.mean == pytest.approx(np.broadcast_to(pixels.mean(0), 3), abs=1e-4)
    assert card.std == pytest.approx(np.broadcast_to(pixels.std(0), 3), abs=1e-4)
    assert {path.name for path in (workspace.folder / "data/images/mine").iterdir()} == {
        "card.json", *(f"{split}_{array}" for split in ("train", "test") for array in ("x.bin", "y.npy", "places.npy"))
    }  # fmt: skip


def test_images_of_one_size_are_stored_whole_as_they_are_and_another_store_leaves_nothing_of_the_last(workspace):
    download.main("glyphs")
    workspace.edit("data/catalog.yaml", glyphs__part={"of": 2, "number": 0})
    stored = {}
    for store, written in (
        ("native", "native"),
        ("whole", {"glyphs": "whole", "others": "native"}),
        ("native", {"digits": "whole", "others": "native"}),
    ):
        workspace.edit("params.yaml", upscale={"image_size": 28, "store": written})
        upscale.main("glyphs")
        x, y = load("glyphs", "test")
        pixels = np.stack([x.image(row) for row in range(len(x))]) if store == "whole" else np.array(x)
        stored.setdefault(store, []).append((pixels, y))
        endings = {".npy", ".bin", ".json"} if store == "whole" else {".npy", ".json"}
        assert {path.suffix for path in (workspace.folder / "data/images/glyphs").iterdir()} == endings
        assert card_of("glyphs").crop == (0.875 if store == "whole" else 1.0)
    (first, y), (again, _) = stored["native"]
    assert np.array_equal(first, again)
    assert np.array_equal(stored["whole"][0][0], first)
    assert np.array_equal(stored["whole"][0][1], y)


def test_more_detail_than_a_test_needs_is_kept_where_it_is_asked_for(workspace):
    mine(workspace)
    put(
        workspace,
        {f"{split}/{label}/1.png": served.picture(np.random.default_rng(0), 90, 60) for split in ("train", "test") for label in "ab"},
    )
    workspace.edit("params.yaml", upscale={"image_size": 16, "store": "whole", "shorter_side": 40})
    download.main("mine")
    upscale.main("mine")
    assert load("mine", "train")[0].image(0).shape == (40, 60, 3)
    for wrong in ({"store": "native", "shorter_side": 40}, {"store": "whole", "shorter_side": 12}):
        workspace.edit("params.yaml", upscale={"image_size": 16} | wrong)
        with pytest.raises(RunError, match=r"params\.yaml: upscale.*`shorter_side` with `store: whole` alone, and not below `image_size`"):
            upscale.main("mine")


def test_a_card_says_which_metric_the_set_is_reported_in(workspace):
    download.main("digits")
    upscale.main("digits")
    card = json.loads(workspace.text("data/images/digits/card.json"))
    assert card["metric"] == card_of("digits").metric == "accuracy"
    workspace.edit("data/catalog.yaml", digits__metric="mean_per_class")
    upscale.main("digits")
    again = json.loads(workspace.text("data/images/digits/card.json"))
    assert again == card | {"metric": "mean_per_class"}
    workspace.edit("data/catalog.yaml", digits__metric="top5")
    with pytest.raises(RunError, match=r"data/catalog\.yaml: digits.*metric.*'accuracy' or 'mean_per_class'"):
        upscale.main("digits")
