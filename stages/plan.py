"""The cost of a configuration before it runs: the number of cells, how many of them are done, hours on this machine, space on disk.

`python -m stages.plan paper` reads that profile, or several together, or a file that is named by its path (params.yaml if nothing
is named), the catalogs, and those images, subsets, sources and cells that exist. Rates come from a few steps of each
kind of run, measured with the processes that `grid` asks for. Nothing is downloaded, trained or written.
"""

import argparse
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

from stages.lib.datasets import catalog, subsets
from stages.lib.errors import RunError
from stages.lib.progress import bar
from stages.lib.runs import computing, costs, grid, transfers
from stages.lib.runs.costs import Kind, Rates, Work
from stages.lib.runs.experiments import Run
from stages.lib.runs.transfers import Transfer
from stages.lib.settings import overlays, params
from stages.lib.settings.sections import Params
from stages.lib.store import cells
from stages.lib.workers import executors
from stages.studies import registry

CELL_BYTES = 4096  # of a finished run in the store, on a usual file system


@dataclass
class Outstanding:
    """Work that a transfer still needs."""

    work: dict[Kind, Work] = field(default_factory=lambda: defaultdict(Work))
    kept: list[tuple[Kind, int, int]] = field(default_factory=list)  # entries of activations: images held, and seen by all runs
    weights: dict[Kind, int] = field(default_factory=lambda: defaultdict(int))  # how many runs keep their weights


def main(named: list[str]) -> None:
    settings = settings_of(named)
    pairs = [pair_of(settings, source, target) for source in settings.sources for target in settings.targets]
    kinds = list(dict.fromkeys(kind for pair in pairs for kind in pair.work))
    with executors.workers(settings.grid, computing.PRELOAD) as workers, bar(title="measuring", total=len(kinds), unit="kind") as progress:
        stage_s = seconds_of_a_stage(workers)
        rates = costs.measure(kinds, workers, progress.update)
        processes = workers.processes
    print("\n".join(report(", ".join(named) or str(params.PARAMS), settings, pairs, rates, processes, stage_s)))


def settings_of(named: list[str]) -> Params:
    """The settings of params.yaml, of a file that is named by its path, or of profiles together."""
    names = [Path(name).stem if Path(name).parent == overlays.FOLDER else name for name in named]
    if not names or (len(names) == 1 and Path(names[0]).suffix):
        return registry.load_params(Path(names[0]) if names else params.PARAMS)
    return overlays.load(names, kind=registry.Params)


def pair_of(settings: Params, source: str, target: str) -> Outstanding:
    pair, count = Outstanding(), transfers.n_models(settings, source)
    for number in range(count):
        transfer = transfers.prepared(settings, source, target, number) or transfers.expected(settings, source, target, number)
        add(pair, settings, replace(transfer, drawn=subsets.of_model(transfer.drawn, number, count)), with_weights=number == 0)
    return pair


def add(pair: Outstanding, settings: Params, transfer: Transfer, with_weights: bool) -> None:
    """Add the runs of one model of a source."""
    planned = grid.plan(transfer.job, settings.blocks, transfer.drawn, partial(grid.schedule, settings.finetune, transfer.n["train"]))
    keep = {cell.key for cell in grid.kept(settings.finetune.keep, planned)} if with_weights else set()
    absent = {cell.key for cell in grid.missing(planned, keep if transfer.exists else set())}
    for batch in grid.batches(planned):
        kind = costs.kind_of(transfer.job, batch[0].blocks, batch[0].together, transfer.stored_size)
        costs.add(pair.work[kind], kind, batch, transfer.n["test"], sum(cell.key in absent for cell in batch))
        pair.weights[kind] += sum(cell.key in keep for cell in batch)
    for blocks in {cell.blocks for cell in planned if cell.key in absent}:
        same = [cell for cell in planned if cell.blocks == blocks]
        kind = costs.kind_of(transfer.job, blocks, same[0].together, transfer.stored_size)
        for entry in computing.entries_of(transfer.job, blocks, planned, transfer.drawn, transfer.n):
            seen = sum(cell.n_images if entry.split == "train" else transfer.n["test"] for cell in same if cell.key in absent)
            pair.kept.append((kind, entry.n_rows(transfer.n[entry.split]), seen))


def seconds_of_a_stage(workers: executors.Workers) -> float:
    """Seconds that a stage takes beside its runs: to start, to start its processes, and to write its journal."""
    started = time.perf_counter()
    for _ in workers.run_all(_nothing, [0] * workers.processes):
        pass
    subprocess.run([sys.executable, "-c", "import stages.finetune"], check=True)
    return time.perf_counter() - started


def _nothing(task: int) -> int:
    return task


def report(title: str, settings: Params, pairs: list[Outstanding], rates: dict[Kind, Rates], processes: int, stage_s: float) -> list[str]:
    total: dict[Kind, Work] = defaultdict(Work)
    for pair in pairs:
        for kind, work in pair.work.items():
            total[kind] += work
    limit = settings.grid.cache_gib
    frozen_s, held = (sum(parts) for parts in zip(*(activations(pair, rates, limit * computing.GIB) for pair in pairs), strict=True))
    runs_s = sum(work.seconds(rates[kind]) for kind, work in total.items())
    stages = sum(any(work.done < work.runs for work in pair.work.values()) for pair in pairs)
    all_s = (runs_s + frozen_s) / processes + stages * stage_s
    runs, done = (sum(getattr(work, name) for work in total.values()) for name in ("runs", "done"))
    times = f"runs {duration(runs_s / processes)}, frozen parts {duration(frozen_s / processes)}, start of {stages} stages"
    weights = sum(n * rates[kind].trained_bytes for pair in pairs for kind, n in pair.weights.items())
    return [
        f"{title} over {processes} processes ({settings.grid.executor})",
        "",
        "| architecture | blocks | runs | done | million images trained | tested | trained images/s | tested images/s | time |",
        "|---|---|---|---|---|---|---|---|---|",
        *(row(kind, work, rates[kind], processes) for kind, work in total.items()),
        "",
        f"cells  {runs:,}, of which {done:,} are done",
        *(f"       {n:,} of {name}, of which {kept:,} are done" for name, n, kept in experiments(settings)),
        f"time   {duration(all_s)} on this machine ({times} {duration(stages * stage_s)}); and the sources' training, the attacks, "
        "and the experiments",
        f"disk   images {size_of(images_bytes(settings))}, sources {size_of(sources_bytes(settings, rates))}, "
        f"activations {size_of(held)} (at most {limit:g} GiB), runs {size_of(runs * CELL_BYTES + weights)}",
    ]


def row(kind: Kind, work: Work, rate: Rates, processes: int) -> str:
    step = rate.per_image + rate.per_step / (kind.batch_size * kind.together)
    return (
        f"| {kind.architecture} | {kind.blocks} | {work.runs:,} | {work.done:,} | {work.trained / 1e6:,.2f} | {work.tested / 1e6:,.2f} "
        f"| {processes / step:,.0f} | {processes / max(rate.per_tested, 1e-9):,.0f} | {duration(work.seconds(rate) / processes)} |"
    )


def activations(pair: Outstanding, rates: dict[Kind, Rates], room: float) -> tuple[float, float]:
    """Seconds in the frozen parts, and bytes of the activations that fit below the limit `room`; the smallest entries are kept first."""
    seconds, held = 0.0, 0.0
    for kind, images, seen in sorted(pair.kept, key=lambda kept: kept[1] * rates[kept[0]].activation_bytes):
        size = images * rates[kind].activation_bytes
        fits = held + size <= room
        held += size if fits else 0.0
        seconds += (images if fits else seen) * rates[kind].per_frozen
    return seconds, held


def experiments(settings: Params) -> Iterator[tuple[str, int, int]]:
    """The name of each experiment that is on, the number of its runs, and how many of them the store holds."""
    for name in settings.experiments:
        runs = registry.experiment_of(name).runs(getattr(settings, name), transfers.expected_card)
        yield name, len(runs), sum(is_kept(run) for run in runs)


def is_kept(run: Run) -> bool:
    try:
        return cells.load(run.experiment, run.key) is not None
    except (RunError, OSError, ValueError):  # its source or its target is not there yet
        return False


def images_bytes(settings: Params) -> float:
    """Bytes of archives and of stored images, as far as the catalog knows their size and number."""
    total = 0
    for name in settings.datasets:
        entry = catalog.dataset_entry(name)
        side = settings.upscale.image_size if settings.upscale.store == "upscaled" else entry.native_size(settings.upscale.image_size)
        total += entry.expected_images * side**2 * entry.channels + entry.file_bytes
    return total


def sources_bytes(settings: Params, rates: dict[Kind, Rates]) -> float:
    """Bytes of the sources' weights, and of the published files from which they are read."""
    of = {kind.architecture: rate.network_bytes for kind, rate in rates.items()}
    entries = {name: params.source_entry(name) for name in settings.sources}
    return sum(
        transfers.n_models(settings, name) * of[entry.architecture] + (getattr(getattr(entry, "file", None), "size", None) or 0)
        for name, entry in entries.items()
    )


def size_of(n: float) -> str:
    return f"{n / 1e9:.1f} GB" if n >= 1e8 else f"{n / 1e6:.1f} MB"


def duration(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.1f} min" if seconds < 7200 else f"{seconds / 3600:,.1f} h"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("named", nargs="*", metavar="PROFILE")
    try:
        main(**vars(parser.parse_args()))
    except RunError as error:
        sys.exit(f"error: {error}")
