"""The same fine-tuning runs by this engine and by the training loop of the `robustness` package, which the paper's authors used.

The cell: 1 block, 100 images, 100 epochs, tested every 20. The grid: 100, 200, 400 and 800 images, five subsets, two sources. Same
networks, images, subsets and schedule. Here: the command `python -m stages.finetune`, in an empty store. There: one process for
each run, as in the published code, so many at once as there are processes, each with one thread; the package is in its own
environment and patched to run without CUDA. Accuracy is compared over runs: the mean paired difference with its 95 % interval.

`make peer` installs the package into `.peer/` and runs this; before that, `make repro` makes sources and images. `--sizes`,
`--seeds`, `--sources` and `--blocks` choose another grid, `--processes` other numbers of processes.
"""

import argparse
import json
import os
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pandas as pd

from benchmarks.places import place, stage
from stages.lib.datasets import sets, subsets
from stages.lib.networks import sources
from stages.lib.progress import bar
from stages.lib.report import statistics
from stages.lib.settings import params
from stages.lib.store import code, files
from stages.lib.store.tables import finetuned
from stages.lib.workers import pool

PEER = code.ROOT / ".peer/bin/python"
TARGET = "digits"
FINETUNE = {"epochs": 100, "eval_every": 20, "batch_size": 128, "keep": {"blocks": [0], "n_images": [100], "n_seeds": 0}}
Accuracy = dict[tuple[str, int, int], float]  # after the last epoch, in percent, by source, number of images and seed


def here(folder: Path, names: list[str]) -> tuple[float, Accuracy]:
    """Seconds of the whole grid by this engine, with the start of every process; and accuracies."""
    seconds = sum(stage(folder, "finetune", name)[0] for name in names)
    runs = pd.concat(pd.read_parquet(folder / finetuned(name) / "runs.parquet") for name in names)
    last = runs[runs.epoch == FINETUNE["epochs"]]
    return seconds, dict(zip(zip(last.source, last.n_images, last.seed, strict=True), last.test_accuracy, strict=True))


def there(folder: Path, names: list[str], blocks: int, processes: int) -> tuple[float, float, Accuracy]:
    """Seconds of the whole grid by the package, seconds inside its training loops, and accuracies."""
    drawn = dict(np.load(folder / subsets.path_of(TARGET)))
    write_arrays(folder / "arrays.npz", drawn, names)
    card = sets.card_of(TARGET)
    task = params.read_yaml(folder / params.PARAMS)["finetune"] | {
        "architecture": sources.card_of(names[0]).architecture, "classes": card.classes, "size": card.image_size, "blocks": blocks
    }  # fmt: skip
    environment = os.environ | pool.ONE_THREAD | {"PYTHONPATH": str(code.ROOT)}

    def train(cell: tuple[str, int, int]) -> dict:
        home = folder / "there" / "_".join(map(str, cell))
        home.mkdir(parents=True)
        files.write_json(home / "task.json", task | dict(zip(("source", "n_images", "seed"), cell, strict=True)))
        done = subprocess.run(
            [PEER, "-m", "benchmarks.peer_loop", home], cwd=folder, env=environment, capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise RuntimeError(done.stderr[-2000:])
        return json.loads((home / "result.json").read_text())

    cells = sorted([(name, *subsets.size_and_seed_of(subset)) for name in names for subset in drawn], key=lambda cell: -cell[1])
    results = []
    started = time.perf_counter()
    with ThreadPoolExecutor(processes) as several, bar(title="robustness", total=len(cells), unit="run") as progress:
        for result in several.map(train, cells):
            results.append(result)
            progress.update()
    seconds = time.perf_counter() - started
    accuracy = {(result["source"], result["n_images"], result["seed"]): result["accuracy"] for result in results}
    return seconds, sum(result["seconds"] for result in results) / processes, accuracy


def write_arrays(path: Path, drawn: dict[str, np.ndarray], names: list[str]) -> None:
    """Images, labels, subsets and weights, for the other environment to read."""
    arrays = {f"{part}_{axis}": array for part in ("train", "test") for axis, array in zip("xy", sets.load(TARGET, part), strict=True)}
    arrays |= {f"subset_{name}": rows for name, rows in drawn.items()}
    for name in names:
        arrays |= {f"{name}/{key}": array for key, array in files.read_arrays(sources.paths(name)[0]).items()}
    np.savez(path, **arrays)


def compared(title: str, sizes: list[int], seeds: int, names: list[str], blocks: int, processes: int) -> None:
    drawn, limits = {"n_images": sizes, "n_seeds": seeds}, {"executor": "local", "workers": processes}
    with place(sources=names, targets=[TARGET], blocks=[blocks], finetune=FINETUNE, draw_subsets=drawn, grid=limits) as folder:
        stage(folder, "draw_subsets", TARGET)
        ours_s, ours = here(folder, names)
        peer_s, loops_s, peer = there(folder, names, blocks, processes)
    mean, low, high = statistics.interval(np.array([ours[key] - peer[key] for key in peer]))
    print(
        f"| {title} | {len(peer)} | {processes} | {ours_s:.1f} s | {peer_s:.1f} s ({loops_s:.1f}) | {peer_s / ours_s:.1f} "
        f"({loops_s / ours_s:.1f}) | {np.mean(list(ours.values())):.1f} % | {np.mean(list(peer.values())):.1f} % "
        f"| {mean:+.2f} [{low:+.2f}, {high:+.2f}] |",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=[100, 200, 400, 800])
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--sources", nargs="+", default=["natural", "l2_eps0_5"])
    parser.add_argument("--blocks", type=int, nargs="+", default=[1, 0])
    parser.add_argument("--processes", type=int, nargs="+", default=sorted({1, pool.workers()}))
    chosen = parser.parse_args()
    print("| runs | number | processes | here | the package (inside its loops) | ratio | accuracy here | there | difference [95 %] |")
    print("|---|---|---|---|---|---|---|---|---|", flush=True)
    for blocks in chosen.blocks:
        for processes in chosen.processes:
            if processes == 1:
                compared(f"{blocks} blocks, {chosen.sizes[0]} images", chosen.sizes[:1], 1, chosen.sources[:1], blocks, processes)
            compared(f"{blocks} blocks, grid", chosen.sizes, chosen.seeds, chosen.sources, blocks, processes)


if __name__ == "__main__":
    main()
