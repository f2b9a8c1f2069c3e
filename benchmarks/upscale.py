"""Whether to store a target up-scaled or at its native size: what each costs, from 32 x 32 to 224 x 224 pixels.

images/s: an image on its way to a network, by each way and by each step, against the forward pass of a ResNet-50 that it feeds.
stage: `upscale` as a whole on a set in the format of SVHN's training images: peak memory, time and room on the disk.

Run it with `python -m benchmarks.upscale [images of the stage] [folder]`. It makes its own data in a temporary folder, of which
up-scaling 73,257 images takes 11 GB; with a GPU, the device's part is measured there.
"""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import numpy as np
import scipy.io
import torch
import yaml
from torchvision.models import resnet50

from stages import upscale
from stages.lib.datasets import pixels
from stages.lib.store import code, files

NATIVE, SIZE, BATCH, REPEATS = 32, 224, 128, 5
STAGE = """
import sys, time
started = time.perf_counter()
from stages import upscale
upscale.main("it")
peak = next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmHWM"))
print(peak / 1024, time.perf_counter() - started)
"""


def main(n: int = 2000, folder: str | None = None) -> None:
    torch.set_num_threads(1)
    torch.backends.cudnn.benchmark = True
    with tempfile.TemporaryDirectory(dir=folder) as place:
        os.chdir(place)
        show_steps(torch.device("cuda" if torch.cuda.is_available() else "cpu"))
        make_svhn(n)
        print(f"\n{f'upscale, {n} images':44} {'peak MiB':>10} {'s':>8} {'GB':>8}")
        for store in ("native", "upscaled"):
            peak, seconds = stage(store)
            room = sum(path.stat().st_size for path in Path("data/images/it").iterdir()) / 1e9
            print(f"store: {store:37} {peak:10.0f} {seconds:8.1f} {room:8.2f}", flush=True)


def show_steps(device: torch.device) -> None:
    """Images per second of each step, on one core or on the GPU."""
    rng = np.random.default_rng(0)
    small = rng.integers(0, 256, (BATCH, NATIVE, NATIVE, 3), np.uint8)
    large = upscale.resize(small, SIZE)
    network = resnet50().eval().to(device, memory_format=torch.channels_last)
    on_device = pixels.prepare(large, device)
    where = torch.cuda.get_device_name() if device.type == "cuda" else "one CPU core"
    print(f"torch {torch.__version__}, {where}, batches of {BATCH}, median of {REPEATS}\n\n{'step':44} {'images/s':>10}")
    rows = {
        "Pillow, 32 to 224 (one CPU core)": lambda: upscale.resize(small, SIZE),
        "images.prepare, from 32": lambda: pixels.prepare(small, device, SIZE),
        "images.prepare, from stored 224": lambda: pixels.prepare(large, device, SIZE),
        "ResNet-50, forward": lambda: network(on_device),
    }
    with torch.inference_mode():
        for name, run in rows.items():
            print(f"{name:44} {BATCH / seconds(run, device):10.0f}", flush=True)
    for side, n in ((NATIVE, 65_536), (SIZE, 8192)):
        print(f"{f'read from disk, {side} x {side}, random batches':44} {n / read_seconds(side, n):10.0f}", flush=True)


def seconds(run: Callable[[], object], device: torch.device) -> float:
    """The median of some runs, after one that warms up."""
    times = []
    for _ in range(REPEATS + 1):
        started = time.perf_counter()
        run()
        if device.type == "cuda":
            torch.cuda.synchronize()
        times.append(time.perf_counter() - started)
    return median(times[1:])


def read_seconds(side: int, n: int) -> float:
    """Of reading n images once, batch after batch in random order, from a file that the page cache does not hold."""
    path = Path("read.npy")
    files.write_array(path, (n, side, side, 3), np.uint8, (np.full((256, side, side, 3), i % 256, np.uint8) for i in range(n // 256)))
    with open(path, "rb") as file:
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    x, order = np.load(path, mmap_mode="r"), np.random.default_rng(0).permutation(n)
    started = time.perf_counter()
    for i in range(0, n, BATCH):
        np.array(x[np.sort(order[i : i + BATCH])])
    elapsed = time.perf_counter() - started
    path.unlink()
    return elapsed


def make_svhn(n: int) -> None:
    """Random images in the format of SVHN's training images, a few for the test, and the entry and settings that read them."""
    rng, raw = np.random.default_rng(0), Path("data/raw/it")
    raw.mkdir(parents=True)
    for split, count in (("train", n), ("test", 100)):
        x = np.asfortranarray(rng.integers(0, 256, (NATIVE, NATIVE, 3, count), np.uint8))
        labels = (np.arange(count) % 10 + 1).astype(np.uint8)[:, None]
        scipy.io.savemat(raw / f"{split}_32x32.mat", {"X": x, "y": labels}, do_compression=True)
    listed = [{"name": f"{split}_32x32.mat", "mirrors": ["."]} for split in ("train", "test")]
    entry = {"kind": "published", "reader": "SVHN", "classes": 10, "channels": 3, "train": n, "test": 100, "files": listed}
    Path("data/catalog.yaml").write_text(yaml.safe_dump({"it": entry}))


def stage(store: str) -> tuple[float, float]:
    """Peak memory in MiB and seconds of the stage, in a process of its own."""
    Path("params.yaml").write_text(yaml.safe_dump({"upscale": {"image_size": SIZE, "store": store}}))
    environment = os.environ | {"PYTHONPATH": str(code.ROOT), "DVC_ROOT": str(Path.cwd())}
    done = subprocess.run([sys.executable, "-c", STAGE], env=environment, stdout=subprocess.PIPE, text=True, check=True)
    peak, elapsed = map(float, done.stdout.split()[-2:])
    return peak, elapsed


if __name__ == "__main__":
    main(*[int(argument) if argument.isdigit() else argument for argument in sys.argv[1:]])
