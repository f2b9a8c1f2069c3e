"""Published sets of photographs: from archives in the real formats to the images, labels and names that were put in; a fault is one line."""

import io
from pathlib import Path

import numpy as np
import photographs
import pytest
import served
from photographs import Set, colour_of
from PIL import Image
from repository import Repository

from stages import download, upscale
from stages.lib.datasets import catalog
from stages.lib.datasets.sets import card_of, load
from stages.lib.errors import RunError
from stages.lib.settings import params
from stages.lib.store import code

COUNTS = {  # Salman et al. (2020), and Terzi et al. (2021): classes, training and test images, and the metric
    "aircraft": (100, 6667, 3333, "mean_per_class"), "birdsnap": (500, 32677, 8171, "accuracy"),
    "caltech101": (101, 3030, 5647, "mean_per_class"), "caltech256": (257, 15420, 15187, "mean_per_class"),
    "cars": (196, 8144, 8041, "accuracy"), "cifar10": (10, 50000, 10000, "accuracy"), "cifar100": (100, 50000, 10000, "accuracy"),
    "dtd": (47, 3760, 1880, "accuracy"), "flowers": (102, 2040, 6149, "mean_per_class"), "food": (101, 75750, 25250, "accuracy"),
    "pets": (37, 3680, 3669, "mean_per_class"), "sun397": (397, 19850, 19850, "accuracy"),
    "birds": (200, 5994, 5794, "accuracy"), "dogs": (120, 12000, 8580, "accuracy"), "indoor": (67, 5360, 1340, "accuracy"),
    "cinic_imagenet": (10, 70000, 70000, "accuracy"),
}  # fmt: skip


@pytest.mark.parametrize("name", COUNTS)
def test_the_catalog_has_the_counts_and_the_metric_of_the_paper(name):
    entry = catalog.dataset_entry(name, code.ROOT / params.DATA_CATALOG)
    assert (entry.classes, entry.train, entry.test, entry.metric) == COUNTS[name]


@pytest.mark.parametrize("name", photographs.SETS)
def test_the_catalog_names_the_files_of_the_reader_and_torchvisions_sums(name):
    from torchvision import datasets  # here, as the other tests of the catalog do without it

    entry = catalog.dataset_entry(name, code.ROOT / params.DATA_CATALOG)
    entry.check(name)
    md5s = {file.name: file.md5 for file in entry.files}
    known = {
        "dtd": lambda: {"dtd-r1.0.1.tar.gz": datasets.DTD._MD5}, "food": lambda: {"food-101.tar.gz": datasets.Food101._MD5},
        "flowers": lambda: dict(datasets.Flowers102._file_dict.values()), "sun397": lambda: {"SUN397.tar.gz": datasets.SUN397._DATASET_MD5},
        "pets": lambda: {address.rpartition("/")[2]: md5 for address, md5 in datasets.OxfordIIITPet._RESOURCES},
    }  # fmt: skip
    expected = known.get(name, dict)()
    assert {file: md5s[file] for file in expected} == expected
    assert all(file.md5 or file.sha256 for file in entry.files) or name == "indoor"  # of which none is published
    assert all(mirror.endswith(f"/{file.name}") for file in entry.files for mirror in file.mirrors)


@pytest.fixture
def server():
    with served.Server({}) as server:
        yield server


def publish(
    workspace: Repository, server: served.Server, name: str, made: Set | None = None, store: str = "whole", **changes: object
) -> Set:
    """A miniature that is ready to be brought, in a folder whose networks take 28 pixels."""
    workspace.edit("params.yaml", upscale={"image_size": 28, "store": store}, download__attempts=1)
    return photographs.serve(workspace, server, name, made, **changes)


@pytest.mark.parametrize("name", photographs.SETS)
def test_a_set_arrives_and_is_stored_whole_with_its_labels_and_names(workspace, server, name):
    made = publish(workspace, server, name)
    download.main(name)
    assert bool(server.asked) == (name not in ("cars", "sun397"))
    upscale.main(name)
    card = card_of(name)
    assert (card.classes, card.class_names, card.metric, card.crop) == (
        len(made.class_names), made.class_names, COUNTS[name][3], 1.0 if name == "cinic_imagenet" else 0.875,
    )  # fmt: skip
    for split, n in (("train", made.train), ("test", made.test)):
        x, y = load(name, split)
        assert len(x) == n * card.classes
        numbers = dict.fromkeys(range(card.classes), 0)
        for row in np.argsort(y, kind="stable"):
            image, label = x.image(row), int(y[row])
            width, height = photographs.SIDES[(label + numbers[label]) % len(photographs.SIDES)]
            shorter = min(28 if card.crop == 1 else 32, width, height)
            assert image.shape == (int(height * shorter / min(width, height)), int(width * shorter / min(width, height)), 3)
            assert np.abs(image - np.array(colour_of(label, split, numbers[label]), float)).max() < 8, (name, split, row)
            numbers[label] += 1
    assert not list(Path(".cells/extracted").iterdir())


def test_a_set_is_stored_in_squares_as_well(workspace, server):
    publish(workspace, server, "dtd", store="upscaled")
    download.main("dtd")
    upscale.main("dtd")
    x, y = load("dtd", "train")
    assert (x.shape, y.tolist()) == ((6, 28, 28, 3), [0, 1, 2] * 2)


# What is gone


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("cars", r"cars: its files are no longer published \(.*\); put cars_test\.tgz, car_devkit\.tgz into data/raw/cars/ by hand"),
        ("sun397", r"sun397: its files are no longer published \(.*404\); put SUN397\.tar\.gz into data/raw/sun397/ by hand"),
    ],
)
def test_what_is_gone_is_said_with_the_files_that_are_lacking_and_no_address_is_asked(workspace, server, name, said):
    publish(workspace, server, name)
    for file in ("cars_test.tgz", "car_devkit.tgz") if name == "cars" else ("SUN397.tar.gz",):
        (workspace.folder / "data/raw" / name / file).unlink()
    with pytest.raises(RunError, match=f"^{said}$"):
        download.main(name)
    assert not server.asked


def test_a_file_that_was_put_there_by_hand_and_is_another_one_is_said(workspace, server):
    made = publish(workspace, server, "cars")
    photographs.put(workspace, "cars", {"car_devkit.tgz": made.files["car_devkit.tgz"][:-100]})
    with pytest.raises(RunError, match=r"^data/raw/cars/car_devkit\.tgz: it has \d+ bytes; allowed: \d+\. Put the file at data/raw/cars/"):
        download.main("cars")
    assert not server.asked


def test_birdsnap_is_read_from_a_folder_that_somebody_has_kept(workspace):
    with pytest.raises(
        RunError, match=r"data/birdsnap: no such folder; its images are no longer published \(.*\); put the images of birdsnap there"
    ):
        download.main("birdsnap")
    rng = np.random.default_rng(0)
    for path, content in served.folder(rng, {"train": 2, "test": 1}, classes=3).items():
        place = workspace.folder / "data/birdsnap" / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(content)
    download.main("birdsnap")
    with pytest.raises(RunError, match=r"data/catalog\.yaml: birdsnap: its train split has 6 images; the entry says 32677"):
        upscale.main("birdsnap")


# Faults


def without(path: str) -> dict[str, bytes | None]:
    return {path: None}


META, PARTS, LABELS = "food-101/meta/", "annotations/", "dtd/labels/"
FAULTS = [  # the set, the archive that is changed, what is changed in it, and what is said
    ("pets", "annotations.tar.gz", without(f"{PARTS}test.txt"), "the lists of the set cannot be read .FileNotFoundError: .*oxford-iiit-pet/annotations/test.txt"),
    ("pets", "annotations.tar.gz", {f"{PARTS}test.txt": b"beagle_20 3 2 1\nAbyssinian_20 1 1 1\n"}, "its lists trainval and test have different classes: American Bulldog; they must have the same"),
    ("pets", "annotations.tar.gz", {f"{PARTS}trainval.txt": b"beagle_20\n"}, r"the lists of the set cannot be read \(ValueError"),
    ("pets", "images.tar.gz", without("images/beagle_20.jpg"), "holds no oxford-iiit-pet/images/beagle_20.jpg, which its test list names, and lacks 0 more"),
    ("pets", "images.tar.gz", {"images/beagle_20.jpg": b"<html>"}, "oxford-iiit-pet/images/beagle_20.jpg: not an image that can be read"),
    ("dtd", "dtd-r1.0.1.tar.gz", {f"{LABELS}val1.txt": b"banded/banded_11.jpg\n"}, "its lists train and val have different classes: blotchy, zigzagged; they must have the same"),
    ("dtd", "dtd-r1.0.1.tar.gz", {f"{LABELS}test1.txt": b"banded/banded_10.jpg\nblotchy/blotchy_20.jpg\nzigzagged/zigzagged_20.jpg\n"},
     "banded_10.jpg is in its training and in its test list, and 0 more"),
    ("pets", "annotations.tar.gz", {f"{PARTS}test.txt": b"Abyssinian_20 1 1 1\namerican_bulldog_20 2 2 1\nbeagle_20 3 2 1\nbeagle_20 3 2 1\n"},
     "its test list names oxford-iiit-pet/images/beagle_20.jpg more than once, and 0 more images"),
    ("food", "food-101.tar.gz", {f"{META}test.json": b'{"apple_pie": ["../../../x"], "hot_dog": ["hot_dog/20"], "waffles": ["waffles/20"]}'},
     "holds no food-101/images/../../../x.jpg, which its test list names"),
    ("food", "food-101.tar.gz", {f"{META}test.json": b"{"}, r"the lists of the set cannot be read \(JSONDecodeError"),
    ("food", "food-101.tar.gz", without(f"{META}train.json"), r"FileNotFoundError: .*food-101/meta/train.json"),
    ("aircraft", "fgvc-aircraft-2013b.tar.gz", without("fgvc-aircraft-2013b/data/variants.txt"), r"FileNotFoundError: .*variants.txt"),
    ("aircraft", "fgvc-aircraft-2013b.tar.gz", {"fgvc-aircraft-2013b/data/variants.txt": b"DC-3\n"}, "KeyError: '707-320'"),
    ("sun397", "SUN397.tar.gz", {"SUN397/ClassName.txt": b"/a/abbey\n"}, "KeyError: '/a/apartment_building/outdoor'"),
    ("caltech256", "256_ObjectCategories.tar", without("256_ObjectCategories/002.dog/002_0001.jpg"), "holds no caltech256/256_ObjectCategories/002.dog/002_0001.jpg, which its train list names, and lacks 0 more"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "archive", "changes", "said"), FAULTS, ids=[f"{name}-{i}" for i, (name, *_) in enumerate(FAULTS)])
def test_a_fault_within_an_archive_is_one_line_and_leaves_nothing(workspace, server, name, archive, changes, said):
    made = photographs.SETS[name]()
    made.files[archive] = served.repacked(made.files[archive], changes, "" if archive.endswith(".tar") else "gz")
    publish(workspace, server, name, made)
    download.main(name)
    with pytest.raises(RunError, match=said) as error:
        upscale.main(name)
    assert str(error.value).startswith(f"data/raw/{name}")
    assert "\n" not in str(error.value)
    assert ".cells" not in str(error.value)
    assert not list(Path(".cells/extracted").iterdir())


@pytest.mark.parametrize(
    ("name", "archive"), [("pets", "annotations.tar.gz"), ("caltech101", "caltech-101.zip"), ("cars", "cars_test_annos_withlabels.mat")]
)
def test_a_truncated_file_is_one_line(workspace, server, name, archive):
    made = photographs.SETS[name]()
    made.files[archive] = made.files[archive][: len(made.files[archive]) // 2]
    publish(workspace, server, name, made)
    download.main(name)
    with pytest.raises(RunError, match=rf"^data/raw/{name}.*(damaged archive|lists of the set cannot be read)") as error:
        upscale.main(name)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(("label", "said"), [(3, "class 4"), (-1, "class (0|256)")])
def test_a_label_that_no_class_has_is_one_line(workspace, server, label, said):
    made = photographs.cars()
    rows = [("00001.jpg", 0), ("00011.jpg", label), ("00021.jpg", 2)]
    made.files["cars_test_annos_withlabels.mat"] = photographs.mat(annotations=photographs.annotations(rows))
    publish(workspace, server, "cars", made)
    with pytest.raises(RunError, match=f"data/raw/cars: its test list has an image of {said}; allowed: 1 to 3"):
        upscale.main("cars")


@pytest.mark.parametrize("inner", [None, b"\x1f\x8b\x08 and no more"], ids=["missing", "damaged"])
def test_an_archive_within_an_archive_is_named_where_it_lies(workspace, server, inner):
    members = {"caltech-101/show_annotation.m": b"%"} | ({"caltech-101/101_ObjectCategories.tar.gz": inner} if inner else {})
    made = photographs.caltech101()
    made.files["caltech-101.zip"] = served.zipped(members)
    publish(workspace, server, "caltech101", made)
    download.main("caltech101")
    with pytest.raises(RunError, match=r"^data/raw/caltech101/caltech-101\.zip/caltech-101/101_ObjectCategories\.tar\.gz: ") as error:
        upscale.main("caltech101")
    assert ".cells" not in str(error.value)


def test_a_class_with_too_few_files_for_a_test_image_is_named(workspace, server):
    publish(workspace, server, "caltech101", train_of_each_class=3)
    download.main("caltech101")
    with pytest.raises(RunError, match="data/raw/caltech101: no image of class 'Faces' in its test list, and of 2 more classes"):
        upscale.main("caltech101")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"classes": 4}, "dtd: its train split has 3 classes; the entry says 4"),
        ({"test": 4}, "dtd: its test split has 3 images; the entry says 4"),
        ({"partition": 11}, "dtd.*partition is 11; allowed: less than or equal to 10"),
        ({"partition": 2}, "dtd: its train split has 0 images; the entry says 6"),
        ({"train_of_each_class": 5}, "dtd.*`train_of_each_class` for the Caltech sets, and for them alone"),
        ({"reader": "Food101"}, r"dtd\.files are dtd-r1\.0\.1\.tar\.gz; allowed for Food101: food-101\.tar\.gz"),
    ],
    ids=["classes", "images", "partition", "empty partition", "caltech", "reader"],
)
def test_an_entry_that_says_something_else_is_one_line(workspace, server, changes, said):
    publish(workspace, server, "dtd", **changes)

    def run() -> None:
        download.main("dtd")
        upscale.main("dtd")

    with pytest.raises(RunError, match=said) as error:
        run()
    assert "\n" not in str(error.value)


def odd(mode: str, kind: str, sides: tuple[int, int]) -> bytes:
    """An image of this mode; of 16 bits, one of a single value."""
    if mode != "I;16":
        return served.picture(np.random.default_rng(0), *sides, mode, kind)
    file = io.BytesIO()
    Image.fromarray(np.full(sides[::-1], 40_000, np.uint16)).save(file, kind)
    return file.getvalue()


def with_odd(workspace: Repository, server: served.Server, images: list[bytes]) -> None:
    """DTD with these images among its training images, ready to be read."""
    made = photographs.dtd()
    names = [f"dtd/images/{label}/{label}_1{number}.jpg" for label in made.class_names for number in range(2)]
    changes = dict(zip(names, images, strict=False))
    made.files["dtd-r1.0.1.tar.gz"] = served.repacked(made.files["dtd-r1.0.1.tar.gz"], changes)
    publish(workspace, server, "dtd", made)
    download.main("dtd")


@pytest.mark.parametrize("sides", [(40, 31), (1, 50)])
def test_an_image_of_another_mode_or_shape_is_stored_as_pillow_converts_it(workspace, server, sides):
    images = [
        odd(mode, kind, sides)
        for mode, kind in (("L", "JPEG"), ("CMYK", "JPEG"), ("RGBA", "PNG"), ("P", "GIF"), ("1", "PNG"), ("LA", "PNG"))
    ]
    with_odd(workspace, server, images)
    upscale.main("dtd")
    x, _ = load("dtd", "train")
    for row, image in zip(
        (0, 3, 1, 4, 2, 5), images, strict=True
    ):  # the list `train` names the first image of each class, `val` the second
        assert np.array_equal(x.image(row), np.asarray(Image.open(io.BytesIO(image)).convert("RGB")))
        assert x[row].shape == (28, 28, 3)


def test_an_image_of_16_bits_is_one_line(workspace, server):
    with_odd(workspace, server, [odd("I;16", "PNG", (40, 31))])
    with pytest.raises(RunError, match=r"data/raw/dtd/dtd/dtd/images/banded/banded_10\.jpg: not an image .*more than 8 bits a channel"):
        upscale.main("dtd")
