"""Whole images of any shape: squares and random parts are those that torchvision cuts, and damage is one line."""

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision import transforms
from torchvision.transforms import functional

from stages.lib.datasets import cropping, pixels, sets, whole
from stages.lib.errors import RunError
from stages.lib.store import files
from stages.lib.training import loop

SHAPES = [(32, 47), (60, 32), (32, 32), (20, 33), (9, 9), (1, 40), (40, 1), (1, 1), (2, 300)]  # height, width
CPU = torch.device("cpu")


def images(channels: int = 3) -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [rng.integers(0, 256, (*shape, channels), np.uint8) for shape in SHAPES]


def stored(folder, made: list[np.ndarray], size: int = 28, crop: float = 0.875) -> whole.Whole:
    whole.write(folder, "train", made, np.arange(len(made)))
    return whole.read(folder, "train", size, crop, made[0].shape[-1])[0]


def pil(image: np.ndarray) -> Image.Image:
    return Image.fromarray(image.squeeze(-1) if image.shape[-1] == 1 else image)


@pytest.mark.parametrize("channels", [1, 3])
def test_the_square_of_a_test_is_the_one_of_torchvision_and_of_long_images_the_middle(tmp_path, channels):
    made = images(channels)
    x = stored(tmp_path, made)
    assert (len(x), x.shape, x.dtype, x.nbytes) == (len(SHAPES), (len(SHAPES), 28, 28, channels), np.uint8, len(SHAPES) * 784 * channels)
    transform = transforms.Compose([transforms.Resize(32), transforms.CenterCrop(28)])
    for row in (0, 1, 2, 3, 4, 7):
        assert np.array_equal(x[row], np.asarray(transform(pil(made[row]))).reshape(28, 28, channels)), SHAPES[row]
    for row, of_longer in ((5, made[5][:, 16:24]), (6, made[6][16:24]), (8, made[8][:, 142:158])):
        assert np.array_equal(x[row], np.asarray(transform(pil(of_longer))).reshape(28, 28, channels)), SHAPES[row]


def test_rows_are_asked_for_as_those_of_an_array(tmp_path):
    x = stored(tmp_path, images())
    assert np.array_equal(np.asarray(x), x[:])
    assert np.array_equal(x[np.array([4, 1])], x[:][[4, 1]])
    assert np.array_equal(x[2:5], x[:][2:5])
    assert np.array_equal(x[np.arange(9) % 2 == 0], x[:][::2])
    assert np.array_equal(x.only(np.array([5, 0]))[1], x[0])
    assert np.array_equal(x.copy()[:], x[:])
    some = x.only(np.array([5, 0])).copy()
    assert (len(some.data), np.array_equal(some[:], x[np.array([5, 0])])) == ((40 + 32 * 47) * 3, True)
    assert x[:0].shape == (0, 28, 28, 3)
    assert torch.equal(pixels.prepare(x, CPU), pixels.prepare(x[:], CPU))


@pytest.mark.parametrize("channels", [1, 3])
def test_a_random_part_is_the_one_that_torchvision_cuts_at_this_place(tmp_path, channels):
    made = images(channels)
    x, rows = stored(tmp_path, made), torch.tensor([0, 8, 1, 3, 5])
    crops = cropping.draw("resized_crop", len(made), seed=1, epoch=0)[rows]
    boxes = crops.within(np.array([SHAPES[row][::-1] for row in rows]))
    found = x.crops(rows.numpy(), crops, 24)
    for row, (left, top, right, bottom), flip, part in zip(rows, boxes, crops.flip, found, strict=True):
        expected = functional.resized_crop(pil(made[row]), top, left, bottom - top, right - left, [24, 24])
        assert np.array_equal(part, np.asarray(functional.hflip(expected) if flip else expected).reshape(24, 24, channels))
    prepared = cropping.prepare(cropping.stored(x, rows), CPU, 24, crops)
    assert torch.equal(prepared, pixels.prepare(found, CPU))


@pytest.mark.parametrize("shape", [(375, 500), (500, 200), (90, 90), (3, 1000)])
def test_parts_have_the_sizes_and_places_of_torchvisions_random_parts(shape):
    """Each mean of 1,000 parts within five standard errors of torchvision's."""
    n, image = 1000, torch.empty(1, *shape)
    crops = cropping.draw("resized_crop", n, seed=0, epoch=0)
    left, top, right, bottom = crops.within(np.tile(np.array(shape)[::-1], (n, 1))).T
    torch.manual_seed(0)
    theirs = np.array([transforms.RandomResizedCrop.get_params(image, list(cropping.AREA), list(cropping.ASPECT)) for _ in range(n)])
    for ours, their in zip((top, left, bottom - top, right - left), theirs.T, strict=True):
        error = np.sqrt((ours.var() + their.var()) / n)
        assert abs(ours.mean() - their.mean()) <= 5 * error
        assert ours.min() >= 0
    assert bottom.max() <= shape[0]
    assert right.max() <= shape[1]


def test_an_image_is_reduced_first_where_a_resolution_is_asked_for(tmp_path):
    made = images()
    x, rows = stored(tmp_path, made).at(7), torch.tensor([0, 1])
    assert x.at(None) is x
    small = [transforms.Resize(8)(pil(made[row])) for row in rows]
    square = transforms.Compose([transforms.Resize(32), transforms.CenterCrop(28)])
    crops = cropping.draw("resized_crop", 2, seed=0, epoch=0)
    boxes = crops.within(np.array([image.size for image in small]))
    for i, (image, (left, top, right, bottom)) in enumerate(zip(small, boxes, strict=True)):
        assert np.array_equal(x[i], np.asarray(square(image)))
        part = functional.resized_crop(image, top, left, bottom - top, right - left, [28, 28])
        assert np.array_equal(x.crops(rows.numpy(), crops)[i], np.asarray(functional.hflip(part) if crops.flip[i] else part))


def test_training_sees_parts_of_the_whole_image_and_without_crops_its_central_square(tmp_path):
    """The ends of a long image are white, and its central square is black."""
    image = np.zeros((32, 96, 3), np.uint8)
    image[:, :30] = image[:, 66:] = 255
    x, y = stored(tmp_path, [image] * 40), torch.zeros(40, dtype=torch.int64)
    seen = {
        kind: torch.cat(
            [batch for batch, _, _ in loop.own_batches(x, y, 16, seed=0, epoch=0, augmentation=kind, image_size=28, device=CPU)]
        )
        for kind in ("none", "resized_crop")
    }
    assert seen["none"].shape == seen["resized_crop"].shape == (40, 3, 28, 28)
    assert seen["none"].max() == 0
    white = seen["resized_crop"].mean((1, 2, 3))
    assert (white > 0.9).any()
    assert (white < 0.1).any()


# On disk


def card(crop: float = 0.875, **changes) -> dict:
    return {
        "name": "it", "classes": 2, "channels": 3, "image_size": 28, "stored_size": 28, "mean": [0.5] * 3, "std": [0.5] * 3, "crop": crop,
        "splits": {"train": {"n": len(SHAPES), "sha256": "0" * 64}},
    } | changes  # fmt: skip


@pytest.fixture
def on_disk(tmp_path, monkeypatch) -> str:
    """The hash of a split that is stored in the current folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    digests = whole.write(sets.IMAGES / "it", "train", images(), np.arange(len(SHAPES)))
    files.write_json(sets.IMAGES / "it/card.json", card())
    return sets.digest_of(digests, seen=whole.read(sets.IMAGES / "it", "train", 28, 0.875, 3)[0])


def test_a_split_is_read_by_its_hash_which_holds_the_square_that_is_read(on_disk):
    x, y = sets.load("it", "train", on_disk)
    assert np.array_equal(x.image(3), images()[3])
    assert y.tolist() == list(range(len(SHAPES)))
    for changed in (card(crop=1.0), card(image_size=24)):
        files.write_json(sets.IMAGES / "it/card.json", changed)
        with pytest.raises(RunError, match=r"train_x\.bin or train_y\.npy or train_places\.npy was damaged or changed"):
            sets.load("it", "train", on_disk)


@pytest.mark.parametrize("name", ["train_x.bin", "train_places.npy", "train_y.npy"])
@pytest.mark.parametrize("damage", [lambda c: c[:-1], lambda c: b"", lambda c: c[:-9] + b"\1" + c[-8:]], ids=["cut", "empty", "other"])
def test_a_damaged_file_is_one_line(on_disk, name, damage):
    path = sets.IMAGES / "it" / name
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(RunError, match=r"^data/images/it: .*`dvc repro") as error:
        sets.load("it", "train", on_disk)
    assert "\n" not in str(error.value)
