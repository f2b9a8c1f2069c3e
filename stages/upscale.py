"""An image set as every later stage reads it: memory-mapped arrays in data/images/<dataset>/.

Reads data/raw/<dataset>/, data/catalog.yaml: <dataset>, params.yaml: upscale. Writes, for each split, <split>_x.npy (uint8
[n, stored_size, stored_size, channels]) and <split>_y.npy (int64 [n]), chunk by chunk, and card.json. With `store: upscaled`
images are stored at `image_size`; with `native`, smaller ones as they are, to be up-scaled on the device by `pixels.prepare`. With
`whole`, images of any shape are packed as a whole into <split>_x.bin, with <split>_places.npy (`datasets.whole`).
"""

from collections.abc import Callable, Iterator
from contextlib import closing
from functools import partial

import numpy as np
from PIL import Image

from stages.lib import command
from stages.lib.datasets import catalog, whole
from stages.lib.datasets.kinds.base import Dataset, Images
from stages.lib.datasets.pictures import as_array, as_picture
from stages.lib.datasets.reduced import Reduced, low_passed
from stages.lib.datasets.sets import IMAGES, RAW, DatasetCard, SplitCard, array_paths, classes_of, digest_of, n_classes, only
from stages.lib.errors import RunError
from stages.lib.progress import bar
from stages.lib.settings import params
from stages.lib.settings.sections import UpscaleSettings
from stages.lib.store import files
from stages.lib.store.journal import execution

CHUNK = 32  # images at a time: 5 MB at 224 x 224, and a few times as much while they are resized


def main(dataset: str) -> None:
    settings, entry = params.section("upscale"), catalog.dataset_entry(dataset)
    shown = settings.model_dump() | {dataset: entry.model_dump()}
    with execution("upscale", dataset, settings=shown, inputs=[RAW / dataset], outputs=[IMAGES / dataset]):
        if (card := entry.store(dataset, settings.image_size)) is not None:
            files.write_json(IMAGES / dataset / "card.json", card.model_dump())
            return
        store = settings.store_of(dataset)
        splits, counts, classes, stored_size = {}, np.zeros((entry.channels, 256), np.int64), entry.classes or 0, settings.image_size
        names = entry.class_names
        with closing(entry.read(dataset, settings.image_size)) as all_of_it:
            for split, whole_x, whole_y in all_of_it:
                classes = check(dataset, split, entry, whole_x, whole_y)
                places, y = only(entry.part, classes, whole_y)
                names = entry.names_of_classes(split, whole_x, whole_y)
                x = whole_x[places] if entry.part else whole_x
                x = Reduced(x, entry.low_resolution) if entry.low_resolution else x
                classes = n_classes(entry.part, classes)
                if store == "whole":
                    splits[split] = pack(dataset, split, x, y, crop_of(entry, store), settings, counts)
                else:
                    stored_size = size_on_disk(x, settings.image_size, "upscaled" if entry.low_pass else store)
                    passed = partial(low_passed, size=entry.low_pass, reading=entry.low_pass_reading) if entry.low_pass else None
                    splits[split] = write(dataset, split, x, y, stored_size, counts, passed)
        if names and entry.part:
            names = [names[i] for i in classes_of(entry.part, len(names))]
        mean, std = mean_and_std(counts)
        published = entry.normalisation
        card = DatasetCard(
            name=dataset, classes=classes, channels=entry.channels, image_size=settings.image_size, stored_size=stored_size,
            mean=mean, std=std, splits=splits, label_is_texture=entry.label_is_texture,
            published_mean=published and published.mean, published_std=published and published.std,
            class_names=names, crop=crop_of(entry, store), metric=entry.metric,
        )  # fmt: skip
        files.write_json(IMAGES / dataset / "card.json", card.model_dump())


def size_on_disk(x: Images, image_size: int, store: str) -> int:
    """Pixels a side of stored images: smaller ones keep their size where the settings say `native`, and are up-scaled on the device."""
    height, width = x.shape[1:3]
    return height if store == "native" and height == width < image_size else image_size


def crop_of(entry: Dataset, store: str) -> float:
    """Side of the central square that a test sees over the shorter side; a set of images of one size is seen whole, if not stored whole."""
    return getattr(entry, "crop", whole.RATIO if store == "whole" else 1.0)


def pack(name: str, split: str, x: Images, y: np.ndarray, crop: float, settings: UpscaleSettings, counts: np.ndarray) -> SplitCard:
    """Write the whole images of a split, and add the pixel values of the training images to `counts` (int64 [channels, 256])."""
    shorter = settings.shorter_side or whole.shorter_side(settings.image_size, crop)
    for path in array_paths(IMAGES / name, split):
        path.unlink(missing_ok=True)  # of another `store`

    def images() -> Iterator[np.ndarray]:
        for i in bar(range(0, len(x), CHUNK), title=f"{name}: {split}", unit="chunk"):
            some = whole.taken(x, slice(i, i + CHUNK), shorter)
            yield from counted(iter(some), counts) if split == "train" else some

    digests = whole.write(IMAGES / name, split, images(), y)
    packed, _ = whole.read(IMAGES / name, split, settings.image_size, crop, x.shape[-1])
    return SplitCard(n=len(packed), sha256=digest_of(digests, seen=packed))


def write(
    name: str, split: str, x: Images, y: np.ndarray, size: int, counts: np.ndarray, change: Callable[[np.ndarray], np.ndarray] | None = None
) -> SplitCard:
    """Write a split, and add the pixel values of the training images to `counts` (int64 [channels, 256]).

    Args:
        change: of the images at their size, before they are written; None: none.
    """
    folder, shape = IMAGES / name, (len(x), size, size, x.shape[-1])
    chunks = resized(x, size, f"{name}: {split}")
    chunks = chunks if change is None else map(change, chunks)
    for path in whole.paths_of(folder, split):
        path.unlink(missing_ok=True)  # of another `store`
    of_x, of_y = array_paths(folder, split)
    digests = [
        files.write_array(of_x, shape, np.uint8, counted(chunks, counts) if split == "train" else chunks),
        files.save_array(of_y, y),
    ]
    return SplitCard(n=len(x), sha256=digest_of(digests))


def resized(x: Images, size: int, title: str) -> Iterator[np.ndarray]:
    """The images at that size, chunk by chunk, with a progress bar."""
    for i in bar(range(0, len(x), CHUNK), title=title, unit="chunk"):
        yield resize(x[i : i + CHUNK], size)


def counted(chunks: Iterator[np.ndarray], counts: np.ndarray) -> Iterator[np.ndarray]:
    """The chunks, unchanged; for each channel, how often each value occurs is added to `counts` on the way."""
    for chunk in chunks:
        for channel in range(len(counts)):
            counts[channel] += np.bincount(chunk[..., channel].ravel(), minlength=256)
        yield chunk


def resize(x: np.ndarray, size: int) -> np.ndarray:
    """Images resized bilinearly, by Pillow as in the released transforms: uint8 [n, H, W, C] to uint8 [n, size, size, C]."""
    if x.shape[1:3] == (size, size):
        return np.asarray(x)
    out = np.empty((len(x), size, size, x.shape[-1]), np.uint8)
    for pixels, place in zip(x, out, strict=True):
        place[...] = as_array(as_picture(pixels).resize((size, size), Image.Resampling.BILINEAR))
    return out


def mean_and_std(counts: np.ndarray) -> tuple[list[float], list[float]] | tuple[None, None]:
    """Mean and std of the stored training images in [0, 1], three channels each; None where there are none.

    A grey image has three equal channels. Up-scaling does not change the mean; as it smooths, it lowers the std (glyphs, from 32
    to 224 pixels: by 1.6 %).
    """
    if not counts.any():
        return None, None
    values, count = np.arange(256) / 255, counts.sum(1)
    mean = counts @ values / count
    std = np.sqrt(counts @ values**2 / count - mean**2)
    return (np.broadcast_to(mean, 3).round(4).tolist(), np.broadcast_to(std, 3).round(4).tolist())


def check(name: str, split: str, entry: Dataset, x: Images, y: np.ndarray) -> int:
    """Compare a split with its entry of the catalog; returns its number of classes.

    Raises:
        RunError: names the count that differs.
    """
    classes = len(np.unique(y))
    wanted = {"train": entry.train, "test": entry.test}.get(split) or len(x)
    there = {"images": len(x), "labels": len(y), "channels": x.shape[-1], "classes": classes}
    allowed = {"images": wanted, "labels": wanted, "channels": entry.channels, "classes": entry.classes or classes}
    for count, value in there.items():
        if value != allowed[count]:
            raise RunError(f"{params.DATA_CATALOG}: {name}: its {split} split has {value} {count}; the entry says {allowed[count]}")
    return classes


if __name__ == "__main__":
    command.run(main, __doc__, "dataset")
