"""How time and memory grow: with the number of runs, of images and of stages.

runs: the stage `finetune` for one source and target, heads on subsets of 100 images, in an empty store.
images: the same for ten runs, on a target of so many training images that the frozen part is computed for.
stages: `dvc repro` of copies of this repository with two to four sources, whose runs are all in the store.

Run it with `make growth`, after `make repro`. Memory is the most that the processes of the stage held at once.
"""

import os
import subprocess
import tempfile
import time
from pathlib import Path

import numpy as np
import yaml

from benchmarks.places import place, stage
from stages.lib.datasets import sets
from stages.lib.settings import params
from stages.lib.store import code, files

RUNS, IMAGES, SOURCES = (10, 100, 1000), (1000, 10_000, 60_000), (2, 3, 4)
HEADS = {"blocks": [0], "sources": ["natural"], "targets": ["digits"]}


def runs(n: int) -> tuple[float, int]:
    with place(draw_subsets={"n_images": [100], "n_seeds": n}, **HEADS) as folder:
        stage(folder, "draw_subsets", "digits")
        return stage(folder, "finetune", "natural", "digits")


def images(n: int) -> tuple[float, int]:
    """On random images; ten subsets of a tenth, so that the frozen part is computed for all of them."""
    with place(draw_subsets={"n_images": [n // 10], "n_seeds": 10}, finetune={"epochs": 1}, **HEADS) as folder:
        (folder / sets.IMAGES).unlink()
        made = folder / sets.IMAGES / "digits"
        made.mkdir(parents=True)
        rng = np.random.default_rng(0)
        splits = {}
        for split, size in (("train", n), ("test", 1000)):
            x, y = rng.integers(0, 256, (size, 32, 32, 3), dtype=np.uint8), np.arange(size) % 10
            splits[split] = sets.SplitCard(n=size, sha256=sets.save(made, split, x, y))
        card = sets.card_of("digits").model_copy(update={"channels": 3, "stored_size": 32, "splits": splits})
        files.write_json(made / "card.json", card.model_dump())
        stage(folder, "draw_subsets", "digits")
        return stage(folder, "finetune", "natural", "digits")


def stages(n_sources: int) -> tuple[int, float, float]:
    """Of a copy of this repository with so many sources: its stages, seconds after `blocks` has changed, and with nothing to do."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "copy"
        run(code.ROOT, "git", "clone", "--quiet", ".", str(folder))
        run(code.ROOT, "cp", "--archive", "--link", ".cells", str(folder))
        (folder / ".dvc/cache").mkdir()
        run(code.ROOT, "cp", "--archive", "--link", ".dvc/cache/files", str(folder / ".dvc/cache"))  # no results of earlier repros
        settings = params.read_yaml(folder / params.PARAMS)
        settings = settings | {"sources": settings["sources"][:n_sources]}
        for blocks in ([0, 1, 3], [1]):
            (folder / params.PARAMS).write_text(yaml.safe_dump(settings | {"blocks": blocks}))
            seconds = run(folder, "dvc", "repro")
        idle = run(folder, "dvc", "repro")
        listed = subprocess.run(["dvc", "stage", "list", "--name-only"], cwd=folder, capture_output=True, text=True, check=True)
        return len(listed.stdout.split()), seconds, idle


def run(folder: Path, *command: str) -> float:
    started = time.perf_counter()
    environment = {key: value for key, value in os.environ.items() if key != "DVC_ROOT"}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)}: {done.stdout[-1000:]} {done.stderr[-2000:]}")
    return time.perf_counter() - started


def main() -> None:
    print("| growth with | | seconds | memory |\n|---|---|---|---|")
    for n in RUNS:
        seconds, held = runs(n)
        print(f"| runs | {n:,} | {seconds:.1f} | {held / 1e9:.2f} GB |", flush=True)
    for n in IMAGES:
        seconds, held = images(n)
        print(f"| images | {n:,} | {seconds:.1f} | {held / 1e9:.2f} GB |", flush=True)
    for n in SOURCES:
        n_stages, changed, idle = stages(n)
        print(f"| stages, `blocks` changed, all runs in the store | {n_stages} | {changed:.1f} | |", flush=True)
        print(f"| stages, nothing to do | {n_stages} | {idle:.1f} | |", flush=True)


if __name__ == "__main__":
    main()
