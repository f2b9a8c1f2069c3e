"""How fast the published augmentation is, in images of 224 x 224 a second on one thread.

batched   stages/lib/datasets/augmentation.py, 128 images at once
PIL       the transforms of torchvision that the released code of Utrera et al. composes, image by image

Run it with `python -m benchmarks.augmentation`. It makes its own data; nothing is read or written.
"""

import time
from collections.abc import Callable

import numpy as np
import torch
from PIL import Image
from torchvision import transforms

from stages.lib.datasets import augmentation, pixels

N, SIDE, REPEATS = 128, 224, 5


def images_a_second(run: Callable[[], object]) -> float:
    """Of this process's time, as other processes on the machine do not count in it; the best of some repeats."""
    times = []
    for _ in range(REPEATS):
        started = time.process_time()
        run()
        times.append(time.process_time() - started)
    return N / min(times)


def main() -> None:
    torch.set_num_threads(1)
    x = np.random.default_rng(0).integers(0, 256, (N, SIDE, SIDE, 3), np.uint8)
    pictures = [Image.fromarray(picture) for picture in x]
    jitter = transforms.ColorJitter(*[augmentation.JITTER] * 3)
    crop = transforms.RandomCrop(SIDE, padding=augmentation.PADDING)
    turn = transforms.RandomRotation(augmentation.DEGREES)
    plain = transforms.Compose([crop, transforms.RandomHorizontalFlip(), jitter, turn, transforms.ToTensor()])
    drawn = augmentation.draw(N, seed=0, epoch=0)
    batched = images_a_second(lambda: augmentation.apply(pixels.prepare(x), drawn))
    by_pil = images_a_second(lambda: torch.stack([plain(picture) for picture in pictures]))
    print(f"torch {torch.__version__}, one thread, best of {REPEATS}")
    print(f"batched {batched:.0f} images/s, PIL {by_pil:.0f} images/s, ratio {batched / by_pil:.1f}")


if __name__ == "__main__":
    main()
