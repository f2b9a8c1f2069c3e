"""What a configuration costs, before anything of it runs: cells, how many of them are done, hours on this machine, disk.

`python -m stages.plan profiles/paper.yaml` reads the file (params.yaml if none is named) and the catalogs, and of what is there
already the images, subsets, sources and cells. Rates come from a few steps of each kind of run, measured with the processes
that `grid` asks for. Nothing is downloaded, trained or written.
"""

import argparse
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np

from stages.lib import computing, costs, datasets, executors, grid, params, sources
from stages.lib.catalog import AnyDataset, Folder, Random
from stages.lib.costs import Kind, Rates, Work
from stages.lib.errors import RunError
from stages.lib.fields import by_size
from stages.lib.grid import Cell, Job
from stages.lib.progress import bar
from stages.lib.settings import Params

CELL_BYTES = 4096  # of a finished run in the store, on a usual file system


@dataclass
class Pair:
    """What is to be done for one source and target."""

    work: dict[Kind, Work] = field(default_factory=lambda: defaultdict(Work))
    kept: list[tuple[Kind, int, int]] = field(default_factory=list)  # entries of activations: images held, and seen by all runs
    weights: dict[Kind, int] = field(default_factory=lambda: defaultdict(int))  # how many runs keep theirs


def main(path: Path) -> None:
    settings = params.load_params(path)
    pairs = [pair_of(settings, source, target) for source in settings.sources for target in settings.targets]
    kinds = list(dict.fromkeys(kind for pair in pairs for kind in pair.work))
    with executors.workers(settings.grid, computing.PRELOAD) as workers, bar(title="measuring", total=len(kinds), unit="kind") as progress:
        stage_s = seconds_of_a_stage(workers)
        rates = costs.measure(kinds, workers, workers.processes, progress.update)
        processes = workers.processes
    print("\n".join(report(path, settings, pairs, rates, processes, stage_s)))


def pair_of(settings: Params, source: str, target: str) -> Pair:
    job, images, n_train, n_test, stored, subsets = prepared(settings, source, target) or expected(settings, source, target)
    planned = grid.plan(job, settings.blocks, subsets, partial(grid.schedule, settings.finetune, n_train))
    keep = {cell.key for cell in planned if grid.keeps(settings.finetune.keep, cell, subsets)}
    absent = {cell.key for cell in grid.missing(planned, keep if images else set())}
    pair = Pair()
    for batch in grid.batches(planned):
        kind = costs.kind_of(job, batch[0].blocks, batch[0].together, stored)
        costs.add(pair.work[kind], kind, batch, n_test, sum(cell.key in absent for cell in batch))
        pair.weights[kind] += sum(cell.key in keep for cell in batch)
    for blocks in {cell.blocks for cell in planned if cell.key in absent}:
        pair.kept += entries(job, [cell for cell in planned if cell.blocks == blocks], absent, subsets, n_train, n_test, stored)
    return pair


def entries(
    job: Job, planned: list[Cell], absent: set[str], subsets: dict, n_train: int, n_test: int, stored: int
) -> Iterator[tuple[Kind, int, int]]:
    """Of each entry of activations: a kind that uses it, its images, and those that its runs would pass by themselves without it."""
    kind = costs.kind_of(job, planned[0].blocks, planned[0].together, stored)
    missing = [cell for cell in planned if cell.key in absent]
    if "train" in kind.kept:
        needed = len(np.unique(np.concatenate([subsets[f"{cell.n_images}_{cell.seed}"] for cell in planned])))
        yield kind, n_train if 4 * needed >= n_train else needed, sum(cell.n_images for cell in missing)
    if "test" in kind.kept:
        yield kind, n_test, n_test * len(missing)


def prepared(settings: Params, source: str, target: str) -> tuple[Job, bool, int, int, int, dict] | None:
    """The job with its data, where these are there and of these settings."""
    try:
        card, images = sources.card_of(source), datasets.card_of(target)
        subsets = dict(np.load(datasets.SUBSETS / f"{target}.npz"))
    except (RunError, OSError, ValueError):
        return None
    n_train, n_test = images.splits["train"].n, images.splits["test"].n
    if images.image_size != settings.upscale.image_size or list(subsets) != names_of(settings, n_train):
        return None
    return grid.job_of(card, images, settings.finetune), True, n_train, n_test, images.stored_size, subsets


def expected(settings: Params, source: str, target: str) -> tuple[Job, bool, int, int, int, dict]:
    """The same from the catalogs alone, with subsets that nothing has been computed for."""
    entry, images = params.source_entry(source), params.dataset_entry(target)
    if images.train is None or images.test is None:
        raise RunError(f"{params.DATA_CATALOG}: {target} does not say how many images it has; run `dvc repro upscale` first, or add them")
    card = sources.Card(
        name=source, kind="random" if isinstance(entry, Random) else "fetched", architecture=entry.architecture, classes=None, dataset=None,
        threat=None, origin="", sha256="unknown", mean=[0.5] * 3, std=[0.5] * 3, accuracy={},
    )  # fmt: skip
    stored = settings.upscale.image_size if settings.upscale.store == "upscaled" else native_size(images)
    splits = {"train": datasets.SplitCard(n=images.train, sha256=""), "test": datasets.SplitCard(n=images.test, sha256="")}
    shown = datasets.Card(
        name=target, classes=images.classes or 2, channels=images.channels, image_size=settings.upscale.image_size, stored_size=stored,
        mean=[0.5] * 3, std=[0.5] * 3, splits=splits,
    )  # fmt: skip
    rng = np.random.default_rng(0)
    sizes = [int(name.split("_")[0]) for name in names_of(settings, images.train)]
    subsets = {name: rng.permutation(images.train)[:n] for name, n in zip(names_of(settings, images.train), sizes, strict=True)}
    return grid.job_of(card, shown, settings.finetune), False, images.train, images.test, stored, subsets


def native_size(images: AnyDataset) -> int:
    """Pixels a side: of the sets that torchvision reads the colour ones have 32, the grey ones 28, and of folders nothing is known."""
    return getattr(images, "size", None) or (32 if images.channels == 3 else 28)


def names_of(settings: Params, n_train: int) -> list[str]:
    """Of the subsets of a target, as `draw_subsets` names them."""
    drawn = settings.draw_subsets
    sizes = dict.fromkeys(n_train if n == "all" else n for n in drawn.n_images)
    counts = {n: by_size(drawn.n_seeds, n, n == n_train) for n in sizes if n <= n_train}
    return [f"{n}_{drawn.first_seed + i * drawn.seed_step}" for n, count in counts.items() for i in range(count)]


def seconds_of_a_stage(workers: executors.Workers) -> float:
    """What a stage takes beside its runs: to start, to start its processes, and to say what it did."""
    started = time.perf_counter()
    for _ in workers.run_all(_nothing, [0] * workers.processes):
        pass
    subprocess.run([sys.executable, "-c", "import stages.finetune"], check=True)
    return time.perf_counter() - started


def _nothing(task: int) -> int:
    return task


def report(path: Path, settings: Params, pairs: list[Pair], rates: dict[Kind, Rates], processes: int, stage_s: float) -> list[str]:
    total: dict[Kind, Work] = defaultdict(Work)
    frozen_s, held = 0.0, 0.0
    for pair in pairs:
        once, more, room = 0.0, 0.0, settings.grid.cache_gib * computing.GIB
        for kind, images, seen in sorted(pair.kept, key=lambda kept: kept[1] * rates[kept[0]].activation_bytes):
            size = images * rates[kind].activation_bytes
            fits = size <= room
            room, held = (room - size, held + size) if fits else (room, held)
            once, more = (once + images * rates[kind].per_frozen, more) if fits else (once, more + seen * rates[kind].per_frozen)
        frozen_s += once + more
        for kind, work in pair.work.items():
            for name, value in vars(work).items():
                setattr(total[kind], name, getattr(total[kind], name) + value)
    lines = [
        f"{path} over {processes} processes ({settings.grid.executor})",
        "",
        "| architecture | blocks | runs | done | million images trained | tested | trained images/s | tested images/s | time |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    runs_s = 0.0
    for kind, work in total.items():
        rate = rates[kind]
        seconds = work.seconds(rate)
        runs_s += seconds
        step = rate.per_image + rate.per_step / (kind.batch_size * kind.together)
        lines.append(
            f"| {kind.architecture} | {kind.blocks} | {work.runs:,} | {work.done:,} | {work.trained / 1e6:,.2f} | {work.tested / 1e6:,.2f} "
            f"| {processes / step:,.0f} | {processes / max(rate.per_tested, 1e-9):,.0f} | {duration(seconds / processes)} |"
        )
    stages = sum(any(work.done < work.runs for work in pair.work.values()) for pair in pairs)
    all_s = (runs_s + frozen_s) / processes + stages * stage_s
    runs, done = (sum(getattr(work, name) for work in total.values()) for name in ("runs", "done"))
    times = f"runs {duration(runs_s / processes)}, frozen parts {duration(frozen_s / processes)}, start of {stages} stages"
    weights = sum(n * rates[kind].trained_bytes for pair in pairs for kind, n in pair.weights.items())
    limit = settings.grid.cache_gib
    return [
        *lines,
        "",
        f"cells  {runs:,}, of which {done:,} are done",
        f"time   {duration(all_s)} on this machine ({times} {duration(stages * stage_s)}); and the sources' training and the attacks",
        f"disk   images {size_of(images_bytes(settings))}, sources {size_of(sources_bytes(settings, rates))}, "
        f"activations {size_of(held)} (at most {limit:g} GiB), runs {size_of(runs * CELL_BYTES + weights)}",
    ]


def images_bytes(settings: Params) -> float:
    """Archives, where their size is known, and images as they are stored; without folders, of which nothing is known."""
    total = 0
    for name in settings.datasets:
        entry = params.dataset_entry(name)
        if isinstance(entry, Folder):
            continue
        side = settings.upscale.image_size if settings.upscale.store == "upscaled" else native_size(entry)
        total += (entry.train + entry.test) * side**2 * entry.channels
        total += sum(file.size or 0 for file in getattr(entry, "files", []))
    return total


def sources_bytes(settings: Params, rates: dict[Kind, Rates]) -> float:
    """The weights, and the files that they come in."""
    of = {kind.architecture: rate.network_bytes for kind, rate in rates.items()}
    entries = [params.source_entry(name) for name in settings.sources]
    return sum(of[entry.architecture] + (getattr(getattr(entry, "file", None), "size", None) or 0) for entry in entries)


def size_of(n: float) -> str:
    return f"{n / 1e9:.1f} GB" if n >= 1e8 else f"{n / 1e6:.1f} MB"


def duration(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.1f} min" if seconds < 7200 else f"{seconds / 3600:,.1f} h"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("profile", nargs="?", type=Path, default=params.PARAMS)
    try:
        main(parser.parse_args().profile)
    except RunError as error:
        sys.exit(f"error: {error}")
