"""How to store photographs of which training takes random parts: room, time and detail of each way, for networks of 224 pixels.

kB: of an image on disk. part: ms of one core for a random part (Salman et al. 2020: 8 to 100 % of the area) at 224 x 224; square: the
same for the central square of a test. lost: mean difference, in levels of 255, of parts (and of squares) from those at the same place
of the published image. Below: ms of one core for an image that `datasets.whole` gives a network, as a float tensor.

Run it with `python -m benchmarks.whole [images]`. The images are windows of 500 x 375 pixels, turned and mirrored, of the two
photographs that scikit-learn carries.
"""

import io
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from PIL.Image import Resampling, Transpose
from sklearn.datasets import load_sample_images

from stages.lib.datasets import cropping, whole
from stages.lib.datasets.pictures import as_array, reduced, square

SIZE, QUALITY, REPEATS, BATCH = 224, 90, 3, 64
SIDES = np.array([500, 375])


def main(n: int = 500) -> None:
    torch.set_num_threads(1)
    published = photographs(n)
    crops = cropping.draw("resized_crop", n, seed=0, epoch=0)
    exact = {kind: list(cut(map(opened, published), crops, kind)) for kind in ("part", "square")}
    print(f"{f'{n} photographs':32} {'kB':>8} {'part':>8} {'square':>8} {'lost':>8} {'lost':>8}")
    for name, (store, read) in ways().items():
        stored = [store(opened(content)) if store else content for content in published]
        room = sum(len(image) if isinstance(image, bytes) else image.nbytes for image in stored) / n / 1e3
        seconds, lost = [], []
        for kind in ("part", "square"):
            found, cost = fastest(lambda stored=stored, read=read, kind=kind: list(cut(map(read, stored), crops, kind)))
            seconds.append(1e3 * cost / n)
            lost.append(np.mean([np.abs(a.astype(int) - b).mean() for a, b in zip(found, exact[kind], strict=True)]))
        print(f"{name:32} {room:8.1f} {seconds[0]:8.2f} {seconds[1]:8.2f} {lost[0]:8.2f} {lost[1]:8.2f}", flush=True)
    show_times(published, crops)


def photographs(n: int) -> list[bytes]:
    """JPEG files."""
    rng, both, made = np.random.default_rng(0), load_sample_images().images, []
    for _ in range(n):
        height, width, _ = both[0].shape
        top, left = rng.integers(height - 375 + 1), rng.integers(width - 500 + 1)
        image = Image.fromarray(both[rng.integers(2)][top : top + 375, left : left + 500])
        for turn, chance in ((Transpose.FLIP_LEFT_RIGHT, 0.5), (Transpose.ROTATE_90, 0.25)):
            image = image.transpose(turn) if rng.random() < chance else image
        made.append(encoded(image, "JPEG", quality=QUALITY))
    return made


def encoded(image: Image.Image, kind: str, **how: object) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **how)
    return file.getvalue()


def opened(content: bytes) -> Image.Image:
    image = Image.open(io.BytesIO(content))
    image.load()
    return image


def ways() -> dict[str, tuple[Callable | None, Callable]]:
    """How each way stores an image, and how it is read again."""
    arrays = {
        f"pixels, shorter side {side}": (lambda image, side=side: as_array(reduced(image, side)), Image.fromarray) for side in (256, 320)
    }
    return {
        "JPEG as published": (None, opened),
        "pixels as published": (as_array, Image.fromarray),
        **arrays,
        "JPEG 95, shorter side 256": (lambda image: encoded(reduced(image, 256), "JPEG", quality=95, subsampling=0), opened),
        "PNG, shorter side 256": (lambda image: encoded(reduced(image, 256), "PNG"), opened),
    }


def cut(images: map, crops: cropping.Crops, kind: str):
    """A random part of each image, or its central square."""
    for i, image in enumerate(images):
        if kind == "square":
            yield square(image, SIZE, whole.RATIO)
        else:
            sides = SIDES if image.width > image.height else SIDES[::-1]
            (box,) = crops[torch.tensor([i])].within(np.array([sides])) * np.tile(np.array(image.size) / sides, 2)
            yield as_array(image.resize((SIZE, SIZE), Resampling.BILINEAR, box=tuple(box)))


def fastest(work: Callable[[], list | None]) -> tuple[list | None, float]:
    """What the work gives, and the least processor time of it."""
    times = []
    for _ in range(REPEATS):
        started = time.process_time()
        found = work()
        times.append(time.process_time() - started)
    return found, min(times)


def show_times(published: list[bytes], crops: cropping.Crops) -> None:
    n = len(published)
    with tempfile.TemporaryDirectory() as folder:
        images = [as_array(reduced(opened(content), whole.shorter_side(SIZE, whole.RATIO))) for content in published]
        whole.write(Path(folder), "train", images, np.zeros(n, np.int64))
        x, _ = whole.read(Path(folder), "train", SIZE, whole.RATIO, 3)
        for name, drawn in (("random parts", crops), ("central squares", None)):

            def read(x: whole.Whole = x, drawn: cropping.Crops | None = drawn) -> None:
                for rows in torch.randperm(n).split(BATCH):
                    cropping.prepare(cropping.stored(x, rows), torch.device("cpu"), SIZE, drawn and drawn[rows])

            print(f"{name}: {1e3 * fastest(read)[1] / n:.2f} ms")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
