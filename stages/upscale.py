"""An image set at the size that the sources take, as memory-mapped arrays in data/images/<dataset>/.

Reads data/raw/<dataset>/, data/catalog.yaml: <dataset>, params.yaml: upscale. Writes, for each split, <split>_x.npy (uint8
[n, image_size, image_size, channels]) and <split>_y.npy (int64 [n]), chunk by chunk, and card.json.
"""

from functools import partial

import numpy as np

from stages.lib import command, files, params
from stages.lib.catalog import AnyDataset
from stages.lib.datasets import IMAGES, RAW, Card, SplitCard, resize, splits_of_raw
from stages.lib.errors import RunError
from stages.lib.journal import execution
from stages.lib.progress import bar

CHUNK = 512  # images resized at a time


def main(dataset: str) -> None:
    settings, entry = params.section("upscale"), params.dataset_entry(dataset)
    shown = settings.model_dump() | {dataset: entry.model_dump()}
    with execution("upscale", dataset, settings=shown, inputs=[RAW / dataset], outputs=[IMAGES / dataset]):
        folder, size, splits, moments = IMAGES / dataset, settings.image_size, {}, []
        for split, x, y in splits_of_raw(dataset, entry):
            check(dataset, split, entry, x, y)
            shape = (len(x), size, size, entry.channels)
            files.write_array(folder / f"{split}_x.npy", shape, np.uint8, partial(upscale, x, split, moments))
            files.save_array(folder / f"{split}_y.npy", y)
            digests = [files.sha256_of(folder / f"{split}_{part}.npy") for part in "xy"]
            splits[split] = SplitCard(n=len(x), sha256=files.digest_of(digests))
        mean, std = mean_and_std(moments)
        card = Card(name=dataset, classes=entry.classes, channels=entry.channels, image_size=size, mean=mean, std=std, splits=splits)
        files.write_json(folder / "card.json", card.model_dump())


def upscale(x: np.ndarray, split: str, moments: list, out: np.ndarray) -> None:
    """Fill `out`, and note the sums of the training images' pixels for their mean and std."""
    for i in bar(range(0, len(x), CHUNK), title=split, unit="chunk"):
        chunk = resize(x[i : i + CHUNK], out.shape[1])
        out[i : i + CHUNK] = chunk
        if split == "train":
            pixels = chunk.reshape(-1, chunk.shape[-1]) / 255
            moments.append((len(pixels), pixels.sum(0), (pixels**2).sum(0)))


def mean_and_std(moments: list[tuple[int, np.ndarray, np.ndarray]]) -> tuple[list[float], list[float]]:
    """Per channel, of three: a grey image counts as three equal ones."""
    count, total, squares = (sum(part) for part in zip(*moments, strict=True))
    mean = total / count
    std = np.sqrt(squares / count - mean**2)
    return (np.broadcast_to(mean, 3).round(4).tolist(), np.broadcast_to(std, 3).round(4).tolist())


def check(name: str, split: str, entry: AnyDataset, x: np.ndarray, y: np.ndarray) -> None:
    """What the catalog says of the set is what it holds."""
    wanted = {"train": entry.train, "test": entry.test}.get(split) or len(x)
    found = {"images": len(x), "labels": len(y), "channels": x.shape[-1], "classes": len(np.unique(y))}
    allowed = {"images": wanted, "labels": wanted, "channels": entry.channels, "classes": entry.classes}
    for what, value in found.items():
        if value != allowed[what]:
            raise RunError(f"{params.DATA_CATALOG}: {name}: its {split} split has {value} {what}; the entry says {allowed[what]}")


if __name__ == "__main__":
    command.run(main, __doc__, "dataset")
