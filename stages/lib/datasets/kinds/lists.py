"""Which images a published set of photographs has, in which split and of which class, as its archives say it.

torchvision's classes read the lists, which name images that nobody has opened yet; where torchvision has no split, or no list, ours do.
"""

from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from stages.lib.datasets.kinds.listing import Listed
from stages.lib.errors import RunError
from stages.lib.fetching import archives

CARS, PETS, FLOWERS = "stanford_cars", "oxford-iiit-pet", "flowers-102"
FILES = {  # of each reader: its files, and the folder in which torchvision's class looks for what they hold
    "FGVCAircraft": {"fgvc-aircraft-2013b.tar.gz": "."},
    "Caltech101": {"caltech-101.zip": "caltech101"},
    "Caltech256": {"256_ObjectCategories.tar": "caltech256"},
    "StanfordCars": {"cars_train.tgz": CARS, "cars_test.tgz": CARS, "car_devkit.tgz": CARS, "cars_test_annos_withlabels.mat": CARS},
    "DTD": {"dtd-r1.0.1.tar.gz": "dtd"},
    "Flowers102": {"102flowers.tgz": FLOWERS, "imagelabels.mat": FLOWERS, "setid.mat": FLOWERS},
    "Food101": {"food-101.tar.gz": "."},
    "OxfordIIITPet": {"images.tar.gz": PETS, "annotations.tar.gz": PETS},
    "SUN397": {"SUN397.tar.gz": ".", "Partitions.zip": "partitions"},
    "CUB200": {"CUB_200_2011.tgz": "."},
    "StanfordDogs": {"images.tar": ".", "lists.tar": "lists"},
    "Indoor67": {"indoorCVPR_09.tar": ".", "TrainImages.txt": ".", "TestImages.txt": "."},
    "CINIC10ImageNet": {"CINIC-10.tar.gz": "."},
}


class Lists(NamedTuple):
    """The images of both splits, as paths from the folder in which the archives were unpacked."""

    class_names: list[str]  # in the order of the labels
    splits: dict[str, Listed]  # train and test


def lay_out(reader: str, raw: Path, folder: Path) -> None:
    """Put the content of a set's files where its reader looks for it."""
    for name, place in FILES[reader].items():
        inside = folder / place
        inside.mkdir(parents=True, exist_ok=True)
        if name.endswith((".mat", ".txt")):
            (inside / name).symlink_to((raw / name).resolve())
        else:
            archives.extract(raw / name, inside)
    if reader == "Caltech101":  # its zip holds another archive
        inside = folder / "caltech101"
        try:
            archives.extract(inside / "caltech-101/101_ObjectCategories.tar.gz", inside)
        except RunError as error:  # which names the folder that is about to go
            raise RunError(str(error).replace(str(inside), f"{raw}/caltech-101.zip")) from None


def read(reader: str, folder: Path, raw: Path, train_of_each_class: int | None, partition: int) -> Lists:
    """The images of a set whose files were laid out.

    Args:
        raw: what errors name in the place of the folder.
        train_of_each_class: as `photographs.Photographs` has it; so `partition`.

    Raises:
        RunError: where a list is missing or damaged, names an image that is not there, or leaves a class without an image.
    """
    try:
        found = READERS[reader](folder, raw=raw, train_of_each_class=train_of_each_class, partition=partition)
        return _checked(found, folder, raw)
    except RunError:
        raise
    except Exception as error:  # scipy and torchvision raise whatever a wrong byte leads them to
        why = " ".join(str(error).split()).replace(f"{folder}/", "")
        raise RunError(f"{raw}: the lists of the set cannot be read ({type(error).__name__}: {why})") from None


def _checked(found: Lists, folder: Path, raw: Path) -> Lists:
    names = found.class_names
    for split, (paths, y) in found.splits.items():
        if len(y) and not 0 <= y.min() <= y.max() < len(names):
            wrong = y.min() if y.min() < 0 else y.max()
            raise RunError(f"{raw}: its {split} list has an image of class {wrong + 1}; allowed: 1 to {len(names)}")
        lacking = [name for name, n in zip(names, np.bincount(y, minlength=len(names)), strict=True) if not n]
        if lacking:
            raise RunError(f"{raw}: no image of class {lacking[0]!r} in its {split} list, and of {len(lacking) - 1} more classes")
        if twice := sorted(path for path, n in Counter(paths).items() if n > 1):
            raise RunError(f"{raw}: its {split} list names {twice[0]} more than once, and {len(twice) - 1} more images")
        absent = [path for path in paths if ".." in Path(path).parts or not (folder / path).is_file()]
        if absent:
            raise RunError(f"{raw}: holds no {absent[0]}, which its {split} list names, and lacks {len(absent) - 1} more images")
    (train, _), (test, _) = found.splits.values()
    if both := sorted(set(train) & set(test)):
        raise RunError(f"{raw}: {both[0]} is in its training and in its test list, and {len(both) - 1} more images are")
    return found


def _torchvision(reader: str) -> type:
    """The class of torchvision as it is, but for its MD5s of files that were compared with the catalog."""
    from torchvision import datasets  # here, as it takes seconds to import

    reading = getattr(datasets, reader)
    if reader != "Flowers102":
        return reading
    return type(reader, (reading,), {"_file_dict": {key: (name, None) for key, (name, _) in reading._file_dict.items()}})


def _of_splits(folder: Path, raw: Path, names: dict[str, list[str]], reader: str, **keywords: Any) -> Lists:
    """The lists of a class that has splits; names: those of ours, and of which of torchvision's each is made."""
    reading, classes, splits = _torchvision(reader), {}, {}
    for split, parts in names.items():
        read = [reading(folder, split=part, **keywords) for part in parts]
        classes |= {part: list(data.classes) for part, data in zip(parts, read, strict=True)}
        pairs = [pair for data in read for pair in _pairs(data)]
        splits[split] = _listed(folder, [path for path, _ in pairs], [label for _, label in pairs])
    first, *others = classes.items()
    for part, of_part in others:
        if of_part != first[1]:
            differing = ", ".join(map(str, sorted(set(of_part) ^ set(first[1]))[:8]))
            raise RunError(f"{raw}: its lists {first[0]} and {part} have different classes: {differing}; they must have the same")
    return Lists(first[1], splits)


def _pairs(data: Any) -> list[tuple[str, int]]:
    """Path and label of each image, which is not opened."""
    if hasattr(data, "loader"):
        data.loader = str
        return [data[i] for i in range(len(data))]
    return list(zip(map(str, data._images), data._labels, strict=True))  # OxfordIIITPet, which takes no loader


def _listed(folder: Path, paths: list[str], labels: list[int]) -> Listed:
    return Listed([Path(path).relative_to(folder).as_posix() for path in paths], np.array(labels, np.int64))


def _split(folder: Path, *, raw: Path, reader: str, train: list[str], partition: int, partitioned: bool = False, **_: Any) -> Lists:
    return _of_splits(folder, raw, {"train": train, "test": ["test"]}, reader, **({"partition": partition} if partitioned else {}))


def _first_of_each(folder: Path, *, reader: str, name: str, train_of_each_class: int, **_: Any) -> Lists:
    """Caltech: the first files of each class are training images, the others test images (Salman et al. 2020, released code)."""
    data = _torchvision(reader)(folder)
    root = Path(data.root, f"{reader.removeprefix('Caltech')}_ObjectCategories")
    y, index = np.array(data.y, np.int64), np.array(data.index)
    files = [name.format(label=label + 1, number=number) for label, number in zip(y, index, strict=True)]
    paths = np.array([str(root / data.categories[label] / file) for label, file in zip(y, files, strict=True)])
    first = index <= train_of_each_class
    splits = {split: _listed(folder, paths[rows].tolist(), y[rows].tolist()) for split, rows in (("train", first), ("test", ~first))}
    return Lists(list(data.categories), splits)


def _sun397(folder: Path, *, partition: int, **_: Any) -> Lists:
    """SUN397: the lists of one of its ten partitions, of 50 training and 50 test images of each class."""
    names = _lines(folder / "SUN397/ClassName.txt")
    label_of, splits = {name: label for label, name in enumerate(names)}, {}
    for split, word in (("train", "Training"), ("test", "Testing")):
        lists = [*(folder / "partitions").rglob(f"{word}_{partition:02}.txt"), folder / f"partitions/{word}_{partition:02}.txt"]
        images = _lines(lists[0])
        labels = [label_of[image.rpartition("/")[0]] for image in images]
        splits[split] = _listed(folder, [f"{folder}/SUN397{image}" for image in images], labels)
    return Lists([name[3:] for name in names], splits)


def _cub200(folder: Path, **_: Any) -> Lists:
    """CUB-200-2011: lists by the number of the image, of its path, its class and its split."""
    root = folder / "CUB_200_2011"
    names, paths, labels, is_train = (
        dict(line.split(maxsplit=1) for line in (root / f"{list_}.txt").read_text().splitlines())
        for list_ in ("classes", "images", "image_class_labels", "train_test_split")
    )
    splits = {}
    for split, flag in (("train", "1"), ("test", "0")):
        numbers = [number for number in paths if is_train[number] == flag]
        files = [str(root / "images" / paths[number].strip()) for number in numbers]
        splits[split] = _listed(folder, files, [int(labels[number]) - 1 for number in numbers])
    return Lists([name.strip().partition(".")[2] for name in names.values()], splits)


def _dogs(folder: Path, **_: Any) -> Lists:
    """Stanford Dogs: the lists of both splits, with classes that are called after a synset and a breed."""
    from scipy.io import loadmat  # here, as it takes half a second to import

    splits, names = {}, {}
    for split in ("train", "test"):
        listed = loadmat(folder / f"lists/{split}_list.mat", squeeze_me=True)
        files, labels = [str(file) for file in listed["file_list"]], [int(label) - 1 for label in listed["labels"]]
        names |= {label: file.partition("/")[0].partition("-")[2] for file, label in zip(files, labels, strict=True)}
        splits[split] = _listed(folder, [f"{folder}/Images/{file}" for file in files], labels)
    return Lists([names[label] for label in sorted(names)], splits)


def _indoor67(folder: Path, **_: Any) -> Lists:
    """MIT Indoor-67: 80 training and 20 test images of each class; a path may hold blanks."""
    files = {split: (folder / f"{word}Images.txt").read_text().splitlines() for split, word in (("train", "Train"), ("test", "Test"))}
    files = {split: [file.strip() for file in listed if file.strip()] for split, listed in files.items()}
    names = sorted({file.partition("/")[0] for listed in files.values() for file in listed})
    label_of = {name: label for label, name in enumerate(names)}
    return Lists(names, {
        split: _listed(folder, [f"{folder}/Images/{file}" for file in listed], [label_of[file.partition("/")[0]] for file in listed])
        for split, listed in files.items()
    })  # fmt: skip


def _cinic10_imagenet(folder: Path, **_: Any) -> Lists:
    """CINIC-10 without the images of CIFAR-10: CINIC-ImageNet (Terzi et al. 2021, Appendix E, Table 5)."""
    names = sorted(path.name for path in (folder / "train").iterdir() if path.is_dir())
    splits = {}
    for split in ("train", "test"):
        of_class = [sorted(map(str, (folder / split / name).glob("[!.]*.png"))) for name in names]
        of_class = [[path for path in paths if not Path(path).name.startswith("cifar10-")] for paths in of_class]
        labels = [label for label, paths in enumerate(of_class) for _ in paths]
        splits[split] = _listed(folder, [path for paths in of_class for path in paths], labels)
    return Lists(names, splits)


def _lines(path: Path) -> list[str]:
    return path.read_text().split()


READERS: dict[str, Callable[..., Lists]] = {
    "FGVCAircraft": partial(_split, reader="FGVCAircraft", train=["trainval"]),
    "Caltech101": partial(_first_of_each, reader="Caltech101", name="image_{number:04d}.jpg"),
    "Caltech256": partial(_first_of_each, reader="Caltech256", name="{label:03d}_{number:04d}.jpg"),
    "StanfordCars": partial(_split, reader="StanfordCars", train=["train"]),
    "DTD": partial(_split, reader="DTD", train=["train", "val"], partitioned=True),
    "Flowers102": partial(_split, reader="Flowers102", train=["train", "val"]),
    "Food101": partial(_split, reader="Food101", train=["train"]),
    "OxfordIIITPet": partial(_split, reader="OxfordIIITPet", train=["trainval"]),
    "SUN397": _sun397,
    "CUB200": _cub200,
    "StanfordDogs": _dogs,
    "Indoor67": _indoor67,
    "CINIC10ImageNet": _cinic10_imagenet,
}
