"""A fine-tuning run of a ResNet-50 at 224 pixels by the `robustness` package, and by this engine with the published and a fast protocol.

The published protocol augments images anew in each epoch and takes batch norm statistics of each batch. The fast one keeps 8 views of each
image and the source's statistics (`profiles/paper-fast.yaml`). Runs have 100 epochs and 10,000 test images, on which they are tested six
times, as in Table 4 of Utrera et al. (2021). None of them is run in full: the sides take turns with a few steps, and the seconds of the
processor that they take for an image are put together. A run alone passes all test images through its frozen part once; of 20 subsets of
a target, which share these activations, each counts a twentieth. The last lines are of one run of each number of blocks: by the published
protocol they share one pass of their images here, while the package trains one after the other.

`make peer` prints this table, too. The networks have random weights, on which no time depends.
"""

import argparse
import json
import os
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from benchmarks.peer import PEER
from stages.lib.networks import units
from stages.lib.networks.inference import View
from stages.lib.networks.layers import nested
from stages.lib.store import code, files
from stages.lib.training import finetuning
from stages.lib.training.feed import Feed
from stages.lib.workers import pool

SIZES, VIEWS = (100, 800), 8
EPOCHS, TESTS, N_TEST, SUBSETS = 100, 6, 10_000, 20
FEW, CLASSES, STORED, SIZE = 8, 10, 32, 224  # images that are trained on and tested here, and their sides
PUBLISHED = {"augmentation": "published", "frozen_batchnorm": "batch"}


@dataclass(frozen=True)
class Seconds:
    """Seconds of the processor for an image."""

    trained: float
    tested: float
    passed: float = 0.0  # through the frozen part, where that is done once

    def run(self, n: int, sharing: int = 1) -> float:
        """Of a run on n images; sharing: runs of one target, of which one passes the test images."""
        once = (VIEWS * n + N_TEST / sharing) * self.passed
        return once + EPOCHS * n * self.trained + TESTS * N_TEST * self.tested


def here(at_once: tuple[int, ...], x: np.ndarray, y: np.ndarray, views: int | None) -> Seconds:
    """The loop of this engine: one epoch after one that warms up, and one test; of several runs that share a pass, all together."""
    torch.manual_seed(0)
    networks = [units.build("resnet50", CLASSES, [0.5] * 3, [0.25] * 3).to(memory_format=torch.channels_last) for _ in at_once]
    runs = [finetuning.FineTuning(trained, np.arange(FEW), 0, frozen) for frozen, trained in nested.cut(networks, at_once)]
    view = View(SIZE, augmentation="published", views=views)
    started = time.process_time()
    feed = Feed(runs, finetuning.Inputs(x, y, x, y), view, "source" if views else "batch", FEW, 1)
    passed = time.process_time() - started
    learners = [finetuning.Learner([model], 0.1, 0.9, 5e-4) for model in feed.models.models]
    seconds = []
    for epoch in range(2):
        started = time.process_time()
        finetuning.train_epoch(learners, [feed], epoch, FEW, 1.0)
        seconds.append(time.process_time() - started)
    started = time.process_time()
    feed.scores()
    tested = time.process_time() - started
    return Seconds(min(seconds) / FEW, tested / FEW, passed / (FEW * (1 + views) + 2) if views else 0.0)  # two for the shapes


def there(blocks: int, folder: Path) -> Seconds:
    """The package: two epochs, each with a test, of which the first warms up; in a process of its own."""
    task = PUBLISHED | {
        "source": None, "architecture": "resnet50", "classes": CLASSES, "size": SIZE, "blocks": blocks, "n_images": FEW, "seed": 0,
        "epochs": 2, "eval_every": 1, "batch_size": FEW, "lr": 0.1, "momentum": 0.9, "weight_decay": 5e-4,
    }  # fmt: skip
    home = folder / "there" / str(blocks)
    home.mkdir(parents=True)
    files.write_json(home / "task.json", task)
    environment = os.environ | pool.ONE_THREAD | {"PYTHONPATH": str(code.ROOT)}
    done = subprocess.run(
        [PEER, "-m", "benchmarks.peer_loop", home], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise RuntimeError(done.stderr[-2000:])
    parts = json.loads((home / "result.json").read_text())["parts"]
    return Seconds(min(parts["train"]) / FEW, min(parts["val"]) / FEW)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--blocks", type=int, nargs="+", default=[0, 1, 3, 9])
    chosen = parser.parse_args().blocks
    torch.set_num_threads(1)
    rng = np.random.default_rng(0)
    x, y = rng.integers(0, 256, (FEW, STORED, STORED, 3), np.uint8), np.arange(FEW) % CLASSES
    print("| blocks | images | the package | here, published | ratio | here, fast | ratio | of 20 subsets | ratio |")
    print("|---|---|---|---|---|---|---|---|---|", flush=True)
    with tempfile.TemporaryDirectory() as name:
        arrays = {"train_x": x, "train_y": y, "test_x": x, "test_y": y, f"subset_{FEW}_0": np.arange(FEW)}
        np.savez(Path(name) / "arrays.npz", **arrays)
        alone = []
        for blocks in chosen:
            sides = here((blocks,), x, y, None), there(blocks, Path(name)), here((blocks,), x, y, VIEWS)
            alone.append(sides[:2])
            for line in lines(blocks, *sides):
                print(line, flush=True)
    if len(chosen) > 1:
        one_pass = here(tuple(chosen), x, y, None)
        print(
            "\n| blocks | images | the package | here, one after the other | here, one pass | ratio |",
            "|---|---|---|---|---|---|",
            sep="\n",
        )
        for n in SIZES:
            ours, package = (sum(side.run(n) for side in sides) / 60 for sides in zip(*alone, strict=True))
            together, name = one_pass.run(n) / 60, ", ".join(map(str, chosen))
            print(f"| {name} | {n} | {package:,.1f} min | {ours:,.1f} min | {together:,.1f} min | {package / together:.1f} |", flush=True)


def lines(blocks: int, published: Seconds, package: Seconds, fast: Seconds) -> list[str]:
    """A line of the table for each number of images, in minutes of one core."""
    found = []
    for n in SIZES:
        whole, ours, alone, shared = package.run(n), published.run(n), fast.run(n), fast.run(n, SUBSETS)
        ratios = [f"{seconds / 60:,.1f} min | {whole / seconds:.1f}" for seconds in (ours, alone, shared)]
        found.append(f"| {blocks} | {n} | {whole / 60:,.1f} min | {' | '.join(ratios)} |")
    return found


if __name__ == "__main__":
    main()
