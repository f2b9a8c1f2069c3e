"""Published sets of photographs in miniature: archives with the folders and lists of the real ones, and a few small images.

Every image has one colour, which says its class, its split and its number, so that a test knows it again: `colour_of`.
"""

import io
import json
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import scipy.io
import yaml
from PIL import Image
from repository import Repository
from served import Server, tar, zipped

SIDES = [(40, 31), (24, 50), (33, 33), (64, 20), (90, 70)]  # width and height
Made = dict[str, bytes]


class Set(NamedTuple):
    """A miniature: its files, its class names in the order of the labels, and images of each class in each split."""

    files: Made
    class_names: list[str]
    train: int = 2
    test: int = 1
    train_of_each_class: int | None = None


def colour_of(label: int, split: str, number: int) -> tuple[int, int, int]:
    return 20 + 2 * label, 60 if split == "train" else 180, (40 + 30 * number) % 256


def jpeg(label: int, split: str, number: int) -> bytes:
    """An image of one colour, of a size that is one of several."""
    file = io.BytesIO()
    Image.new("RGB", SIDES[(label + number) % len(SIDES)], colour_of(label, split, number)).save(file, "JPEG", quality=95)
    return file.getvalue()


def images(names: list[str], path: Callable[[str, int, str, int], str], train: int = 2, test: int = 1) -> dict[str, tuple[bytes, int, str]]:
    """Content, label and split of the images, by the path that `path` makes of class name, label, split and number."""
    n = {"train": train, "test": test}
    return {
        path(name, label, split, number): (jpeg(label, split, number), label, split)
        for label, name in enumerate(names) for split in n for number in range(n[split])
    }  # fmt: skip


def content(made: dict[str, tuple[bytes, int, str]]) -> Made:
    return {path: image for path, (image, _, _) in made.items()}


def listed(made: dict[str, tuple[bytes, int, str]], split: str) -> list[tuple[str, int]]:
    """Path and label of the images of a split."""
    return [(path, label) for path, (_, label, of) in made.items() if of == split]


def lines(*rows: str) -> bytes:
    return "".join(f"{row}\n" for row in rows).encode()


def mat(**arrays: object) -> bytes:
    file = io.BytesIO()
    scipy.io.savemat(file, arrays)
    return file.getvalue()


def stem(path: str) -> str:
    return path.rpartition("/")[2].removesuffix(".jpg")


def aircraft(train: int = 2, test: int = 1) -> Set:
    names = ["DC-3", "707-320", "Cessna 172"]  # the order of variants.txt, and a name of two words
    made = images(
        names,
        lambda name, label, split, number: f"fgvc-aircraft-2013b/data/images/{'12'[split == 'test']}{label}{number}0.jpg",
        train,
        test,
    )
    data, lists = "fgvc-aircraft-2013b/data", {}
    for split, word in (("train", "trainval"), ("test", "test")):
        lists[f"{data}/images_variant_{word}.txt"] = lines(*(f"{stem(path)} {names[label]}" for path, label in listed(made, split)))
    return Set({"fgvc-aircraft-2013b.tar.gz": tar(content(made) | lists | {f"{data}/variants.txt": lines(*names)})}, names, train, test)


def caltech101(train: int = 2, test: int = 1) -> Set:
    """The first files are training images; the background is no class; the archive lies in a zip."""
    names = ["Faces", "airplanes", "wild_cat"]
    start = {"train": 1, "test": train + 1}
    made = images(names, lambda name, _, split, number: f"101_ObjectCategories/{name}/image_{start[split] + number:04}.jpg", train, test)
    inner = tar(
        content(made)
        | {"101_ObjectCategories/BACKGROUND_Google/tmp": b"", "101_ObjectCategories/BACKGROUND_Google/image_0001.jpg": jpeg(9, "test", 0)}
    )
    outer = {
        "caltech-101/101_ObjectCategories.tar.gz": inner,
        "caltech-101/Annotations.tar": tar({}, ""),
        "caltech-101/show_annotation.m": b"% x",
    }
    return Set({"caltech-101.zip": zipped(outer)}, names, train, test, train_of_each_class=train)


def caltech256(train: int = 2, test: int = 1) -> Set:
    """Clutter is a class; what is no image lies among the images, as in the real one."""
    names = ["001.ak47", "002.dog", "003.clutter"]
    start = {"train": 1, "test": train + 1}
    made = images(
        names, lambda name, label, split, number: f"256_ObjectCategories/{name}/{label + 1:03}_{start[split] + number:04}.jpg", train, test
    )
    others = {"256_ObjectCategories/002.dog/greg/vision309/x": b"x", "256_ObjectCategories/003.clutter/RENAME2": b"x"}
    return Set({"256_ObjectCategories.tar": tar(content(made) | others, "")}, names, train, test, train_of_each_class=train)


def annotations(rows: list[tuple[str, int]]) -> np.ndarray:
    fields = [(name, object) for name in ("bbox_x1", "bbox_y1", "bbox_x2", "bbox_y2", "class", "fname")]
    table = np.zeros((1, len(rows)), fields)
    for place, (path, label) in zip(table[0], rows, strict=True):
        place["bbox_x1"], place["class"], place["fname"] = np.uint16([[30]]), np.uint8([[label + 1]]), path.rpartition("/")[2]
    return table


def cars(train: int = 2, test: int = 1) -> Set:
    names = ["AM General Hummer SUV 2000", "Acura RL Sedan 2012", "Acura TL Sedan 2012"]
    made = images(names, lambda _, label, split, number: f"cars_{split}/{label * 1000 + number + 1:05}.jpg", train, test)
    meta = np.array([[name] for name in names], object).T
    devkit = {
        "devkit/cars_meta.mat": mat(class_names=meta), "devkit/cars_train_annos.mat": mat(annotations=annotations(listed(made, "train"))),
        "devkit/README.txt": b"x",
    }  # fmt: skip
    archives = {
        f"cars_{split}.tgz": tar({path: image for path, (image, _, of) in made.items() if of == split}) for split in ("train", "test")
    }
    labelled = mat(annotations=annotations(listed(made, "test")))
    return Set(archives | {"car_devkit.tgz": tar(devkit), "cars_test_annos_withlabels.mat": labelled}, names, train, test)


def dtd(train: int = 2, test: int = 1) -> Set:
    """One of the training images is in the list `train`, the other in `val`."""
    names = ["banded", "blotchy", "zigzagged"]
    made = images(names, lambda name, _, split, number: f"dtd/images/{name}/{name}_{'12'[split == 'test']}{number}.jpg", train, test)
    listed_of = {split: [path.removeprefix("dtd/images/") for path, _ in listed(made, split)] for split in ("train", "test")}
    of_lists = {"train": listed_of["train"][::2], "val": listed_of["train"][1::2], "test": listed_of["test"]}
    lists = {f"dtd/labels/{split}{part}.txt": lines(*(paths if part == 1 else [])) for split, paths in of_lists.items() for part in (1, 2)}
    return Set({"dtd-r1.0.1.tar.gz": tar(content(made) | lists | {"dtd/imdb/imdb.mat": b"x"})}, names, train, test)


def flowers(train: int = 2, test: int = 1) -> Set:
    """All 102 classes, whose names torchvision has; labels by the number of the image, and the lists of the splits as numbers."""
    from torchvision.datasets import Flowers102  # here, as it takes seconds to import

    names, number_of = list(Flowers102.classes), {"train": 1, "test": train + 1}
    made = images(
        names, lambda _, label, split, number: f"jpg/image_{(train + test) * label + number_of[split] + number:05}.jpg", train, test
    )
    numbers = {split: [int(stem(path).removeprefix("image_")) for path, _ in listed(made, split)] for split in ("train", "test")}
    labels = np.repeat(np.arange(1, 103), train + test)[None].astype(np.uint8)
    setid = mat(trnid=[numbers["train"][::2]], valid=[numbers["train"][1::2]], tstid=[numbers["test"]])
    return Set({"102flowers.tgz": tar(content(made)), "imagelabels.mat": mat(labels=labels), "setid.mat": setid}, names, train, test)


def food(train: int = 2, test: int = 1) -> Set:
    names = ["apple_pie", "hot_dog", "waffles"]
    made = images(names, lambda name, _, split, number: f"food-101/images/{name}/{'12'[split == 'test']}{number}.jpg", train, test)
    lists = {}
    for split in ("train", "test"):
        of_class = {name: [] for name in names}
        for path, label in listed(made, split):
            of_class[names[label]].append(path.removeprefix("food-101/images/").removesuffix(".jpg"))
        lists[f"food-101/meta/{split}.json"] = json.dumps(of_class).encode()
    return Set({"food-101.tar.gz": tar(content(made) | lists | {"food-101/meta/classes.txt": lines(*names)})}, names, train, test)


def pets(train: int = 2, test: int = 1) -> Set:
    """Names of two words, one image that is a PNG under the name of a JPEG, and what is no image beside them."""
    names, files = ["Abyssinian", "American Bulldog", "Beagle"], ["Abyssinian", "american_bulldog", "beagle"]
    made = images(names, lambda _, label, split, number: f"images/{files[label]}_{'12'[split == 'test']}{number}.jpg", train, test)
    path = "images/beagle_10.jpg"
    file = io.BytesIO()
    Image.open(io.BytesIO(made[path][0])).save(file, "PNG")
    made[path] = (file.getvalue(), *made[path][1:])
    lists = {
        f"annotations/{word}.txt": lines(*(f"{stem(path)} {label + 1} {1 if label == 0 else 2} 1" for path, label in listed(made, split)))
        for split, word in (("train", "trainval"), ("test", "test"))
    }
    return Set(
        {"images.tar.gz": tar(content(made) | {"images/Abyssinian_10.mat": b"x"}), "annotations.tar.gz": tar(lists)}, names, train, test
    )


def sun397(train: int = 2, test: int = 1) -> Set:
    """Classes below their first letter, one of which is below another name."""
    folders = ["/a/abbey", "/a/apartment_building/outdoor", "/z/zoo"]
    made = images(folders, lambda name, _, split, number: f"SUN397{name}/sun_{'ab'[split == 'test']}{number}.jpg", train, test)
    lists = {
        f"{word}_01.txt": lines(*(path.removeprefix("SUN397") for path, _ in listed(made, split)))
        for split, word in (("train", "Training"), ("test", "Testing"))
    }
    archive = tar(content(made) | {"SUN397/ClassName.txt": lines(*folders)})
    return Set({"SUN397.tar.gz": archive, "Partitions.zip": zipped(lists)}, [folder[3:] for folder in folders], train, test)


def birds(train: int = 2, test: int = 1) -> Set:
    """Lists by the number of the image, and names behind the number of the class."""
    names = ["Black_footed_Albatross", "Crested_Auklet", "Bobolink"]
    made = images(
        names,
        lambda name, label, split, number: f"CUB_200_2011/images/{label + 1:03}.{name}/{'ab'[split == 'test']}{number}.jpg",
        train,
        test,
    )
    numbered = list(enumerate(made.items(), start=1))
    rows = {
        "classes": [f"{label + 1} {label + 1:03}.{name}" for label, name in enumerate(names)],
        "images": [f"{i} {path.removeprefix('CUB_200_2011/images/')}" for i, (path, _) in numbered],
        "image_class_labels": [f"{i} {label + 1}" for i, (_, (_, label, _)) in numbered],
        "train_test_split": [f"{i} {int(split == 'train')}" for i, (_, (_, _, split)) in numbered],
    }
    lists = {f"CUB_200_2011/{name}.txt": lines(*of_name) for name, of_name in rows.items()}
    return Set({"CUB_200_2011.tgz": tar(content(made) | lists | {"attributes.txt": b"x"})}, names, train, test)


def dogs(train: int = 2, test: int = 1) -> Set:
    """Two plain archives; breeds behind the synset, one of two words with a dash."""
    names = ["Chihuahua", "Walker_hound", "black-and-tan_coonhound"]
    synsets = ["n02085620", "n02089867", "n02089078"]
    made = images(
        names,
        lambda name, label, split, number: f"Images/{synsets[label]}-{name}/{synsets[label]}_{'12'[split == 'test']}{number}.jpg",
        train,
        test,
    )
    lists = {}
    for split in ("train", "test"):
        rows = listed(made, split)
        cells = np.array([[path.removeprefix("Images/")] for path, _ in rows], dtype=object)
        lists[f"{split}_list.mat"] = mat(file_list=cells, labels=np.array([[label + 1] for _, label in rows], np.uint8))
    return Set({"images.tar": tar(content(made), ""), "lists.tar": tar(lists, "")}, names, train, test)


def indoor(train: int = 2, test: int = 1) -> Set:
    """Lists beside the archive, which name an image with a blank in its name, and an image that no list names."""
    names = ["airport_inside", "bar", "winecellar"]
    made = images(names, lambda name, label, split, number: f"Images/{name}/{'ab'[split == 'test']} {number}_{label}.jpg", train, test)
    lists = {
        f"{word}Images.txt": lines(*(path.removeprefix("Images/") for path, _ in listed(made, split)))
        for split, word in (("train", "Train"), ("test", "Test"))
    }
    archive = tar(content(made) | {"Images/bar/left_out.jpg": jpeg(9, "train", 0)}, "")
    return Set({"indoorCVPR_09.tar": archive, **lists}, names, train, test)


def cinic_imagenet(train: int = 2, test: int = 1) -> Set:
    """Classes by folder, images of CIFAR-10 among them, and a third split."""
    names = ["airplane", "automobile", "bird"]
    made = images(names, lambda name, label, split, number: f"{split}/{name}/n0{label}690373_{number}.png", train, test)
    others = {f"{split}/{name}/cifar10-{split}-7.png": jpeg(9, split, 0) for split in ("train", "test") for name in names}
    others |= {f"valid/{name}/n01690373_7.png": jpeg(9, "train", 0) for name in names}
    return Set({"CINIC-10.tar.gz": tar({f"./{path}": data for path, data in (content(made) | others).items()})}, names, train, test)


SETS: dict[str, Callable[[], Set]] = {
    maker.__name__: maker
    for maker in (aircraft, caltech101, caltech256, cars, dtd, flowers, food, pets, sun397, birds, dogs, indoor, cinic_imagenet)
}
"""By name in data/catalog.yaml."""


def serve(repository: Repository, server: Server, name: str, made: Set | None = None, **changes: object) -> Set:
    """A miniature on the server, or in its folder where the set is gone, under the real entry with its counts and sums."""
    made = made or SETS[name]()
    entries = yaml.safe_load(repository.text("data/catalog.yaml"))
    classes = len(made.class_names)
    entries[name] |= {"classes": classes, "train": made.train * classes, "test": made.test * classes}
    if made.train_of_each_class:
        entries[name]["train_of_each_class"] = made.train_of_each_class
    entries[name] |= {"files": server.listed(made.files, within=f"{name}/")} | changes
    (repository.folder / "data/catalog.yaml").write_text(yaml.safe_dump(entries, sort_keys=False))
    if "gone" in entries[name]:
        put(repository, name, made.files)
    return made


def put(repository: Repository, name: str, files: Made) -> None:
    """Files of a set, where somebody puts them by hand."""
    for file, content_of_file in files.items():
        path = repository.folder / "data/raw" / name / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content_of_file)
