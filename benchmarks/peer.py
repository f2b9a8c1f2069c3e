"""The same fine-tuning runs by this engine and by the training loop of the `robustness` package, which the paper's authors used.

The cell: 1 block, 100 images, 100 epochs, tested every 20. The grid: 100, 200, 400 and 800 images, five subsets, two sources. Same
networks, images, subsets and schedule; the package in its own environment, patched to run without CUDA. Both on one thread,
and on all cores. Accuracy is compared over subsets: the mean paired difference with its 95 % interval.

`make peer` installs the package into `.peer/` and runs it; before that, `make repro` makes sources and images. `--sizes`,
`--seeds`, `--sources` and `--blocks` choose another grid, `--threads` one of the two settings.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from functools import partial
from pathlib import Path

import numpy as np

from stages.lib import code, computing, datasets, files, grid, pool, sources
from stages.lib.settings import FinetuneSettings, GridSettings

PEER = Path(".peer/bin/python")
TARGET = "digits"
FINETUNE = {
    "epochs": 100, "eval_every": 20, "batch_size": 128, "lr": 0.1, "momentum": 0.9, "weight_decay": 5e-4, "head_init": "normal",
    "frozen_batchnorm": "source", "normalisation": "source", "augmentation": "none", "resolution": None,
    "keep": {"blocks": [1], "n_images": [100], "n_seeds": 0},
}  # fmt: skip


def subsets_of(sizes: list[int], seeds: int, n_train: int) -> dict[str, np.ndarray]:
    return {f"{n}_{seed}": np.random.RandomState(seed).choice(n_train, n, replace=False) for n in sizes for seed in range(seeds)}


def here(names: list[str], blocks: int, subsets: dict[str, np.ndarray], processes: int) -> tuple[float, dict]:
    """Seconds of the whole grid, with all that it starts, in an empty store; and the last test accuracy of every run."""
    settings = FinetuneSettings(**FINETUNE)
    limits = GridSettings(executor="local", address=None, workers=processes, per_gpu=1, cache_gib=4)
    accuracy, root = {}, os.environ.get("DVC_ROOT")
    with tempfile.TemporaryDirectory() as store:
        os.environ["DVC_ROOT"] = store
        started = time.perf_counter()
        for name in names:
            job = grid.job_of(sources.card_of(name), datasets.card_of(TARGET), settings)
            planned = grid.plan(job, [blocks], subsets, partial(grid.schedule, settings, 0))
            for _, error in computing.compute(job, planned, planned, subsets, set(), limits):
                if error is not None:
                    raise error
            for cell in planned:
                rows = computing.cells.load("finetune", cell.key)["rows"]
                accuracy[name, cell.n_images, cell.seed] = rows[-1]["test_accuracy"]
        seconds = time.perf_counter() - started
    os.environ.pop("DVC_ROOT") if root is None else os.environ.update(DVC_ROOT=root)
    return seconds, accuracy


def there(names: list[str], blocks: int, subsets: dict[str, np.ndarray], threads: int) -> tuple[float, dict]:
    """The same by the package: the sum over runs, of which each is a process of its own in practice; starting it is not counted."""
    card = datasets.card_of(TARGET)
    arrays = {f"{part}_{axis}": array for part in ("train", "test") for axis, array in zip("xy", datasets.load(TARGET, part), strict=True)}
    arrays |= {f"subset_{name}": rows for name, rows in subsets.items()}
    for name in names:
        arrays |= {f"{name}/{key}": tensor for key, tensor in files.read_arrays(sources.paths(name)[0]).items()}
    keys = [tuple(map(int, name.split("_"))) for name in subsets]
    task = FINETUNE | {
        "architecture": sources.card_of(names[0]).architecture, "classes": card.classes, "size": card.image_size, "threads": threads,
        "loader_workers": 0 if threads == 1 else threads,
        "cells": [{"source": name, "blocks": blocks, "n_images": n, "seed": seed} for name in names for n, seed in keys],
    }  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        np.savez(Path(folder) / "arrays.npz", **arrays)
        (Path(folder) / "task.json").write_text(json.dumps(task))
        environment = os.environ | {name: str(threads) for name in pool.ONE_THREAD} | {"PYTHONPATH": str(code.ROOT)}
        with open(Path(folder) / "log", "w") as log:
            done = subprocess.run(
                [PEER.absolute(), "-m", "benchmarks.peer_loop", folder], env=environment, stderr=log, stdout=log, check=False
            )
        if done.returncode:
            sys.exit((Path(folder) / "log").read_text()[-2000:])
        results = json.loads((Path(folder) / "results.json").read_text())
    accuracy = {(run["source"], run["n_images"], run["seed"]): run["accuracy"] for run in results}
    return sum(run["seconds"] for run in results), accuracy


def compared(title: str, names: list[str], blocks: int, subsets: dict[str, np.ndarray], threads: int) -> None:
    theirs_s, theirs = there(names, blocks, subsets, threads)
    ours_s, ours = here(names, blocks, subsets, threads)
    differences = np.array([ours[key] - theirs[key] for key in theirs])
    mean, low, high = interval(differences)
    where = "1 thread" if threads == 1 else f"{threads} cores"
    print(
        f"| {title}, {where} | {len(theirs)} | {ours_s:.1f} s | {theirs_s:.1f} s | {theirs_s / ours_s:.0f} "
        f"| {np.mean(list(ours.values())):.1f} % | {np.mean(list(theirs.values())):.1f} % | {mean:+.2f} ({low:+.2f} to {high:+.2f}) |",
        flush=True,
    )


def interval(differences: np.ndarray) -> tuple[float, float, float]:
    """Mean and 95 % interval by the bootstrap."""
    if len(differences) == 1:
        return float(differences[0]), float("nan"), float("nan")
    draws = np.random.default_rng(0).choice(differences, (10000, len(differences))).mean(1)
    return float(differences.mean()), *(float(np.quantile(draws, q)) for q in (0.025, 0.975))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=[100, 200, 400, 800])
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--sources", nargs="+", default=["natural", "l2_eps0_5"])
    parser.add_argument("--blocks", type=int, default=1)
    parser.add_argument("--threads", type=int, nargs="+", default=sorted({1, pool.workers()}))
    chosen = parser.parse_args()
    n_train = datasets.card_of(TARGET).splits["train"].n
    print("| runs | number | here | the package | ratio | accuracy here | there | difference (95 % interval) |")
    print("|---|---|---|---|---|---|---|---|", flush=True)
    for threads in chosen.threads:
        name = f"{chosen.blocks} block, {chosen.sizes[0]} images"
        compared(name, chosen.sources[:1], chosen.blocks, subsets_of(chosen.sizes[:1], 1, n_train), threads)
        subsets = subsets_of(chosen.sizes, chosen.seeds, n_train)
        compared("grid", chosen.sources, chosen.blocks, subsets, threads)


if __name__ == "__main__":
    main()
