"""Images in class sub-folders: found in order, decoded as torchvision's transforms do it, and what is wrong is one line."""

import csv
import io
from pathlib import Path

import numpy as np
import pytest
import served
from PIL import Image
from torchvision.transforms import CenterCrop, Compose, Resize

from stages.lib.datasets import sets
from stages.lib.datasets.kinds import folder as folders
from stages.lib.datasets.kinds.folder import Folder
from stages.lib.datasets.pictures import Pictures
from stages.lib.errors import RunError
from stages.lib.store.files import write_bytes


def entry(**changes) -> Folder:
    return Folder(**{"kind": "folder", "path": "somewhere"} | changes)


def put(root: Path, members: dict[str, bytes]) -> Path:
    for name, content in members.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content)
    return root


@pytest.fixture
def root(tmp_path) -> Path:
    return put(tmp_path / "images", served.folder(np.random.default_rng(0), {"train": 4, "test": 2}, classes=3))


def test_classes_are_numbered_by_name_and_images_sorted_within_them(root):
    put(root, {"train/class_0/deeper/9.png": served.picture(np.random.default_rng(0), 9, 9)})
    found = folders.find("it", root, entry())
    assert found["train"].paths[:5] == [
        "train/class_0/0.png",
        "train/class_0/1.png",
        "train/class_0/2.JPEG",
        "train/class_0/3.jpg",
        "train/class_0/deeper/9.png",
    ]
    assert found["train"].y.tolist() == [0] * 5 + [1] * 4 + [2] * 4
    assert found["test"].y.tolist() == [0, 0, 1, 1, 2, 2]
    assert found["train"].y.dtype == np.int64


def test_what_is_no_image_of_a_class_is_left_out_and_said(root, capsys):
    before = folders.find("it", root, entry())
    put(
        root,
        {
            "train/notes.txt": b"x",
            "train/class_0/notes.txt": b"x",
            "train/class_0/._0.png": b"x",
            "train/.git/a.png": b"x",
            "train/class_0/.thumbnails/a.png": b"x",
            "train/__MACOSX/a.png": b"x",
        },
    )
    after = folders.find("it", root, entry())
    assert [(split, listed.paths) for split, listed in after.items()] == [(split, listed.paths) for split, listed in before.items()]
    assert f"{root}/train: left out: train/class_0/notes.txt and 1 more; allowed: files in class folders" in capsys.readouterr().err


def test_splits_may_have_other_names(root):
    (root / "test").rename(root / "val")
    found = folders.find("it", root, entry(splits={"train": "train", "test": "val"}))
    assert found["test"].paths[0] == "val/class_0/0.png"


def test_a_fraction_of_each_class_is_the_test_split(tmp_path):
    root = put(tmp_path, served.folder(np.random.default_rng(0), {"": 10}, classes=3))
    found = folders.find("it", root, entry(test_fraction=0.2))
    assert {split: np.bincount(listed.y).tolist() for split, listed in found.items()} == {"train": [8] * 3, "test": [2] * 3}
    assert len({path for listed in found.values() for path in listed.paths}) == 30
    assert all(path.startswith(f"class_{label}/") for listed in found.values() for path, label in zip(*listed, strict=True))
    other = folders.find("it", root, entry(test_fraction=0.2, split_seed=1))
    assert other["test"].paths != found["test"].paths


BAD = {
    "no folder": (lambda root: root.rename(root.with_name("moved")), {}, "images: no such folder; put the images of it there"),
    "no split": (lambda root: (root / "test").rename(root / "val"), {}, "images: holds no folder 'test' for the test split, but train, val; correct it.splits"),
    "no classes": (lambda root: put(root, {"flat/a.png": b"x"}), {"splits": {"train": "flat", "test": "test"}}, "flat: holds 0 class folders"),
    "one class": (lambda root: put(root, {"one/a/a.png": b"x"}), {"splits": {"train": "one", "test": "test"}}, "one: holds 1 class folders"),
    "empty class": (lambda root: (root / "train/class_9").mkdir(), {}, "train/class_9: a class without an image"),
    "other classes": (lambda root: put(root, {"test/class_7/a.png": b"x"}), {}, "images: the splits have different classes (class_7 are in one of them alone)"),
    "too few to split": (lambda root: (root / "test").rename(root / "val"), {"test_fraction": 0.01}, "cannot be split by test_fraction"),
    "split already": (lambda root: None, {"test_fraction": 0.2}, "images: is divided already, into train and test; remove it.test_fraction, which would take them for classes"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_a_folder_that_cannot_be_read_is_one_line(root, case):
    damage, changes, said = BAD[case]
    damage(root)
    with pytest.raises(RunError) as error:
        folders.find("it", root, entry(**changes))
    assert said in str(error.value)
    assert "\n" not in str(error.value)


def test_an_optional_folder_or_split_that_is_not_there_is_left_out_with_a_line(root, capsys):
    (root / "train").rename(root / "elsewhere")
    assert list(folders.find("it", root, entry(optional=True))) == ["test"]
    assert folders.find("it", root / "none", entry(optional=True)) == {}
    assert capsys.readouterr().err.count("`dvc repro --force --single-item download@it`") == 2


def decoded(image: Image.Image, size: int, crop: float, channels: int, tmp_path: Path, **options) -> np.ndarray:
    put(tmp_path, {"a": b""})
    image.save(tmp_path / "a.png", "PNG", **options)
    return Pictures(tmp_path, ["a.png"], size, crop, channels, None)[0:1][0]


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("crop", [1.0, 0.875])
@pytest.mark.parametrize(("width", "height"), [(50, 37), (37, 50), (64, 64), (16, 16), (300, 20), (18, 41)])
def test_an_image_is_resized_and_cropped_as_torchvision_does_it(tmp_path, width, height, crop, channels):
    image = Image.open(io.BytesIO(served.picture(np.random.default_rng(0), width, height))).convert("RGB" if channels == 3 else "L")
    expected = Compose([Resize(round(16 / crop)), CenterCrop(16)])(image)
    assert np.array_equal(decoded(image, 16, crop, channels, tmp_path), np.asarray(expected).reshape(16, 16, channels))


@pytest.mark.parametrize("mode", ["RGB", "L", "1", "P", "LA", "RGBA"])
@pytest.mark.parametrize("channels", [1, 3])
def test_every_kind_of_image_becomes_one_of_the_channels_of_the_set(tmp_path, mode, channels):
    grey = np.random.default_rng(0).integers(0, 2, (16, 16), np.uint8) * 255
    found = decoded(Image.fromarray(grey).convert(mode), 16, 1.0, channels, tmp_path)
    assert np.array_equal(found, np.repeat(grey[..., None], channels, axis=-1))


def test_an_image_is_turned_as_the_camera_was_held(tmp_path):
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (16, 16, 3), np.uint8))
    exif = Image.Exif()
    exif[0x0112] = 6  # its first row is on the right
    assert np.array_equal(decoded(image, 16, 1.0, 3, tmp_path, exif=exif), np.rot90(image, -1))


def test_of_an_animation_the_first_picture_is_taken(root):
    first, second = (Image.new("RGB", (16, 16), colour) for colour in ("red", "blue"))
    first.save(root / "train/class_0/9.gif", save_all=True, append_images=[second])
    assert "train/class_0/9.gif" in folders.find("it", root, entry())["train"].paths
    assert np.array_equal(Pictures(root, ["train/class_0/9.gif"], 16, 1.0, 3, None)[0:1][0], np.asarray(first))


UNREADABLE = {
    "truncated": lambda content: content[: len(content) // 2],
    "page": lambda _: served.PAGE,
    "empty": lambda _: b"",
    "flipped": lambda content: content[:40] + bytes(255 - byte for byte in content[40:]),
}


@pytest.mark.parametrize(("kind", "damage"), [*(("PNG", damage) for damage in UNREADABLE), ("JPEG", "truncated"), ("JPEG", "empty")])
def test_an_image_that_cannot_be_read_is_named(tmp_path, kind, damage):
    content = served.picture(np.random.default_rng(0), 40, 40, kind=kind)
    put(tmp_path, {"a.jpg": content, "b.jpg": UNREADABLE[damage](content)})
    with pytest.raises(RunError, match=r"b\.jpg: not an image that can be read .*; replace or remove it") as error:
        Pictures(tmp_path, ["a.jpg", "b.jpg"], 16, 1.0, 3, None)[0:2]
    assert "\n" not in str(error.value)


def test_an_image_of_16_bits_a_channel_is_refused(tmp_path):
    Image.fromarray(np.full((16, 16), 40_000, np.uint16)).save(tmp_path / "a.png")
    with pytest.raises(RunError, match="more than 8 bits a channel"):
        Pictures(tmp_path, ["a.png"], 16, 1.0, 1, None)[0:1]


def listed(root: Path) -> tuple[dict[str, folders.Listed], bytes, list[int]]:
    found, progress = folders.find("it", root, entry()), []
    paths = sorted(path for split in found.values() for path in split.paths)
    return found, folders.manifest(root, paths, progress.append), progress


def test_the_manifest_lists_every_image_with_its_hash(root, tmp_path):
    put(root, {'train/class_0/a "comma", and an é.png': served.picture(np.random.default_rng(0), 9, 9)})
    found, content, progress = listed(root)
    rows = list(csv.DictReader(io.StringIO(content.decode())))
    assert [row["path"] for row in rows] == sorted(path for split in found.values() for path in split.paths)
    assert all((root / row["path"]).stat().st_size == int(row["bytes"]) for row in rows)
    assert sum(progress) == len(rows) == 19
    (tmp_path / folders.MANIFEST).write_bytes(content)
    sha256 = folders.read_manifest(tmp_path)
    folders.compare("it", root, found, sha256)
    for _, x, _ in folders.pictures(root, found, entry(), 16, sha256):
        assert x[:].shape == x.shape


def test_an_image_that_changed_since_it_was_listed_is_named(root, tmp_path):
    found, content, _ = listed(root)
    (tmp_path / folders.MANIFEST).write_bytes(content)
    sha256 = folders.read_manifest(tmp_path)
    put(root, {"train/class_0/0.png": served.picture(np.random.default_rng(9), 9, 9)})
    (_, x, _), _ = folders.pictures(root, found, entry(), 16, sha256)
    with pytest.raises(RunError, match=r"train/class_0/0\.png: has changed since `download` listed it"):
        x[:]


@pytest.mark.parametrize(
    "change", [lambda root: (root / "train/class_1/0.png").unlink(), lambda root: put(root, {"train/class_1/9.png": b"x"})]
)
def test_a_folder_that_changed_since_it_was_listed_is_one_line(root, tmp_path, change):
    _, content, _ = listed(root)
    (tmp_path / folders.MANIFEST).write_bytes(content)
    change(root)
    with pytest.raises(RunError, match=r"has changed since `download` listed it \(train/class_1/[09]\.png and 0 more\)"):
        folders.compare("it", root, folders.find("it", root, entry()), folders.read_manifest(tmp_path))


def test_a_manifest_that_is_missing_or_no_manifest_is_one_line(tmp_path):
    for content in (None, b"a,b\n1,2\n", b"\xff\xfe"):
        if content is not None:
            (tmp_path / folders.MANIFEST).write_bytes(content)
        with pytest.raises(RunError, match=r"manifest\.csv: cannot be read"):
            folders.read_manifest(tmp_path)


@pytest.mark.parametrize("above", ["", "one", "one/two"])
def test_the_splits_of_an_archive_may_lie_deeper(tmp_path, above):
    put(tmp_path / above, {"train/a/1.png": b"", "test/a/1.png": b""})
    put(tmp_path, {"__MACOSX/x": b""})
    assert folders.root_within(tmp_path, entry()) == tmp_path / above


@pytest.mark.parametrize("kind", ["zip", "gz", "xz"])
def test_the_raw_splits_of_an_archived_folder_are_decoded_from_it(tmp_path, monkeypatch, kind):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    content = served.folder_archive(np.random.default_rng(0), train=5, test=3, classes=3, kind=kind)
    write_bytes(sets.RAW / "mine" / "mine.archive", content)
    archived = Folder(kind="folder", files=[{"name": "mine.archive", "mirrors": ["http://host.invalid/x"]}])
    for split, x, y in archived.read("mine", 16):
        n = {"train": 5, "test": 3}[split]
        assert (x.shape, len(x)) == ((3 * n, 16, 16, 3), 3 * n)
        assert np.array_equal(y, np.repeat(np.arange(3), n))
        assert x[:].shape == x.shape
        assert np.array_equal(x[2:7], x[:][2:7])
    assert not list((tmp_path / ".cells/extracted").iterdir())
