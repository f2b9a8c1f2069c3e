"""The cost of a configuration before it runs: the number of cells, how many of them are done, hours on this machine, space on disk.

`python -m stages.plan paper` reads that profile, or several together, or a file that is named by its path (params.yaml if nothing
is named), the catalogs, and those images, subsets, sources and cells that exist. Rates come from a few steps of each kind of run that
is not done, measured with the processes that `grid` asks for. Nothing is downloaded, trained or written.
"""

import argparse
import subprocess
import sys
import time
from collections import defaultdict
from dataclasses import dataclass, field, replace
from functools import partial
from importlib import import_module
from pathlib import Path

from stages.lib import command, machine
from stages.lib.datasets import subsets
from stages.lib.progress import bar
from stages.lib.runs import computing, costs, counts, grid, missing, transfers
from stages.lib.runs.costs import Kind, Rates, Work
from stages.lib.runs.experiments import Run
from stages.lib.runs.grid import Cell
from stages.lib.runs.missing import Piece
from stages.lib.runs.planning import disk, measuring, operations, passes, trainings
from stages.lib.runs.planning.passes import Needed
from stages.lib.runs.planning.quantities import duration, size_of
from stages.lib.runs.transfers import Transfer
from stages.lib.settings import overlays, params
from stages.lib.settings.sections import Params
from stages.lib.workers import executors
from stages.studies import registry

ANEW = "finetune.frozen_batchnorm: batch, or an augmentation without views, changes what they give"
TRAININGS = "training sources"


@dataclass
class Outstanding:
    """Work that a transfer still needs."""

    source: str
    work: dict[Kind, Work] = field(default_factory=lambda: defaultdict(Work))
    kept: list[Needed] = field(default_factory=list)  # entries of activations
    with_weights: list[tuple[Kind, Cell]] = field(default_factory=list)  # runs whose weights are kept

    @property
    def lacking(self) -> list[Kind]:
        """The kinds of which a run is not done."""
        return [kind for kind, work in self.work.items() if work.done < work.runs]


@dataclass(frozen=True)
class Speed:
    """How fast this machine computes the kinds of runs that are not done."""

    rates: dict[Kind, Rates]
    processes: int
    stage_s: float  # seconds that a stage takes beside its runs
    beside: dict[str, float] = field(default_factory=dict)  # seconds of what is computed beside fine-tuning, where they can be measured


@dataclass(frozen=True)
class Beside:
    """Trainings of sources, or the runs of an experiment."""

    n: int
    lacking: list[Piece]  # that the store does not hold


def main(named: list[str]) -> None:
    settings = settings_of(named)
    pairs, beside = [pair_of(settings, source, target) for source in settings.sources for target in settings.targets], beside_of(settings)
    speed = measured(settings, list(dict.fromkeys(kind for pair in pairs for kind in pair.lacking)), beside)
    print("\n".join(report(", ".join(named) or str(params.PARAMS), settings, pairs, beside, speed)))


def measured(settings: Params, kinds: list[Kind], beside: dict[str, Beside]) -> Speed:
    """The speed of runs of these kinds, and of what is lacking beside them; where there is nothing, no process is started."""
    lacking = {
        name: part.lacking for name, part in beside.items() if part.lacking and (name == TRAININGS or registry.experiment_of(name).cost)
    }
    if not kinds and not lacking:
        return Speed({}, 1, 0.0)
    total = len(kinds) + len(lacking)
    with executors.workers(settings.grid, computing.PRELOAD) as workers, bar(title="measuring", total=total, unit="kind") as progress:
        rates, seconds = measuring.measure(kinds, workers, progress.update), {}
        for name, pieces in lacking.items():
            if name == TRAININGS:
                seconds[name] = trainings.seconds(pieces, settings.upscale.image_size, workers)
            else:
                of_one = import_module(registry.experiment_of(name).cost).seconds(pieces, transfers.expected_card, workers)
                seconds[name] = of_one / workers.processes
            progress.update()
        return Speed(rates, workers.processes, seconds_of_a_stage(workers), seconds)


def beside_of(settings: Params) -> dict[str, Beside]:
    """By name: the trainings of sources, and the runs of each experiment that is on."""
    asked = {TRAININGS: ("source", counts.trainings(settings))} | {name: (name, runs) for name, runs in runs_of(settings).items()}
    return {name: Beside(len(all_of), [one for one in all_of if not missing.is_done(kind, one)]) for name, (kind, all_of) in asked.items()}


def runs_of(settings: Params) -> dict[str, list[Run]]:
    """The runs of each experiment that is on."""
    return {name: registry.experiment_of(name).runs(getattr(settings, name), transfers.expected_card) for name in settings.experiments}


def settings_of(named: list[str]) -> Params:
    """The settings of params.yaml, of a file that is named by its path, or of profiles together."""
    names = [Path(name).stem if Path(name).parent == overlays.FOLDER else name for name in named]
    if not names or (len(names) == 1 and Path(names[0]).suffix):
        return registry.load_params(Path(names[0]) if names else params.PARAMS)
    return overlays.load(names, kind=registry.Params)


def pair_of(settings: Params, source: str, target: str) -> Outstanding:
    pair, count = Outstanding(source), transfers.n_models(settings, source)
    for number in range(count):
        transfer = transfers.prepared(settings, source, target, number) or transfers.expected(settings, source, target, number)
        add(pair, settings, replace(transfer, drawn=subsets.of_model(transfer.drawn, number, count)), with_weights=number == 0)
    return pair


def add(pair: Outstanding, settings: Params, transfer: Transfer, with_weights: bool) -> None:
    """Add the runs of one model of a source."""
    schedule = partial(grid.schedule, settings.finetune, transfer.n["train"])
    planned = grid.plan(transfer.job, settings.blocks, transfer.drawn, schedule, transfer.held_out)
    how = {"fused": settings.grid.compile and machine.gpus() > 0, "whole": settings.upscale.store_of(transfer.job.target) == "whole"}
    keep = {cell.key for cell in grid.kept(settings.finetune.keep, planned)} if with_weights else set()
    absent = {cell.key for cell in grid.missing(planned, keep if transfer.exists else set())}

    def kind_of(company: list[Cell]) -> Kind:
        return costs.kind_of(transfer.job, tuple(cell.blocks for cell in company), transfer.stored_size, **how)

    for batch in grid.batches(transfer.job, planned):
        companies = [batch]
        if grid.shares_pass(transfer.job, batch[0].blocks):  # then a part of them can be computed
            companies = [part for is_absent in (False, True) if (part := [cell for cell in batch if (cell.key in absent) == is_absent])]
        for company in companies:
            kind = kind_of(company)
            costs.add(pair.work[kind], kind, company, transfer.n["test"], sum(cell.key in absent for cell in company))
        pair.with_weights += [(kind_of([cell]), cell) for cell in batch if cell.key in keep]
    for blocks in {cell.blocks for cell in planned if cell.key in absent}:
        same = [cell for cell in planned if cell.blocks == blocks]
        kind = kind_of(same[: same[0].together])
        for entry in computing.entries_of(transfer.job, blocks, planned, transfer.drawn, transfer.n):
            seen = [
                (cell.n_images * (entry.views or 1), cell.n_images * cell.epochs)
                if entry.split == "train"
                else (transfer.n["test"], transfer.n["test"] * costs.evaluations_of(cell))
                for cell in same
                if cell.key in absent
            ]
            pair.kept.append(Needed(kind, entry.n_rows(transfer.n[entry.split]), seen))


def seconds_of_a_stage(workers: executors.Workers) -> float:
    """Seconds that a stage takes beside its runs: to start, to start its processes, and to write its journal."""
    started = time.perf_counter()
    for _ in workers.run_all(_nothing, [0] * workers.processes):
        pass
    subprocess.run([sys.executable, "-c", "import stages.finetune"], check=True)
    return time.perf_counter() - started


def _nothing(task: int) -> int:
    return task


def report(title: str, settings: Params, pairs: list[Outstanding], beside: dict[str, Beside], speed: Speed) -> list[str]:
    total: dict[Kind, Work] = defaultdict(Work)
    for pair in pairs:
        for kind, work in pair.work.items():
            total[kind] += work
    shown = {*total, *(needed.kind for pair in pairs for needed in pair.kept), *(kind for pair in pairs for kind, _ in pair.with_weights)}
    sizes, limit = {kind: measuring.sizes_of(kind) for kind in shown}, settings.grid.cache_gib
    stored = [passes.count(pair.kept, sizes, limit * computing.GIB) for pair in pairs]
    frozen_s = sum(n * speed.rates[kind].per_frozen for each in stored for kind, n in each.images.items()) / speed.processes
    held, without_room = min(sum(each.held for each in stored), limit * computing.GIB), sum(each.without_room for each in stored)
    runs_s = sum(work.seconds(speed.rates[kind]) for kind, work in total.items() if kind in speed.rates) / speed.processes
    stages = len({pair.source for pair in pairs if pair.lacking})  # one fine-tunes a source on all targets
    runs, done = (sum(getattr(work, name) for work in total.values()) for name in ("runs", "done"))
    found = counted(settings, pairs, beside)
    unknown = [f"{n - kept:,} of {name}" for name, n, kept in found if kept < n and name not in speed.beside]
    total_s = runs_s + frozen_s + stages * speed.stage_s + sum(speed.beside.values())
    needed, whole = operations.of_runs(total, stored)
    anew = sum(
        work.trained / (kind.together if kind.one_pass else 1)
        for kind, work in total.items()
        if kind.blocks != "all" and "train" not in kind.fixed_within_a_run
    )
    weights = sum(sizes[kind].trained for pair in pairs for kind, _ in pair.with_weights)
    return [
        f"{title} over {speed.processes} processes ({settings.grid.executor})" if speed.rates else title,
        "",
        "| architecture | blocks | runs | done | million images trained | tested | trained images/s | tested images/s | time |",
        "|---|---|---|---|---|---|---|---|---|",
        *(row(kind, work, speed) for kind, work in total.items()),
        "",
        f"cells  {runs:,} of fine-tuning, of which {done:,} are done",
        *(f"       {n:,} of {name}, of which {kept:,} are done" for name, n, kept in found),
        f"time   {duration(total_s)} on this machine (runs {duration(runs_s)}, frozen parts {duration(frozen_s)}, start of {stages} stages "
        f"{duration(stages * speed.stage_s)}{''.join(f', {name} {duration(seconds)}' for name, seconds in speed.beside.items())})"
        + (f"; not in it: {', '.join(unknown)}" if unknown else ""),
        *([f"passes {anew / 1e6:,.2f} million images through frozen parts, anew in each epoch: {ANEW}"] if anew else []),
        *(
            [
                f"room   none on disk or in memory for what {without_room:,} runs need of frozen parts, through which they pass "
                f"{sum(each.anew for each in stored) / 1e6:,.2f} million images anew in each epoch"
            ]
            if without_room
            else []
        ),
        f"limit  {needed:.2g} floating-point operations in products, {duration(operations.seconds(needed))} of an {operations.GPU} at "
        f"{operations.SHARE:.0%} of its bfloat16 rate; {whole:.2g}, {duration(operations.seconds(whole))}, with nothing kept",
        f"disk   images {size_of(disk.of_images(settings))}, sources {size_of(disk.of_sources(settings, sizes))}, "
        f"activations {size_of(held)} (at most {limit:g} GiB), runs {size_of(runs * disk.CELL + weights)}",
    ]


def row(kind: Kind, work: Work, speed: Speed) -> str:
    fields = [kind.architecture, kind.blocks, f"{work.runs:,}", f"{work.done:,}", f"{work.trained / 1e6:,.2f}", f"{work.tested / 1e6:,.2f}"]
    if kind in speed.rates:
        rate, n = speed.rates[kind], speed.processes
        per_image = rate.per_image + rate.per_step / (kind.batch_size * kind.together)
        fields += [f"{n / per_image:,.0f}", f"{n / max(rate.per_tested, 1e-9):,.0f}", duration(work.seconds(rate) / n)]
    else:
        fields += ["", "", "0 s"]
    return f"| {' | '.join(map(str, fields))} |"


def counted(settings: Params, pairs: list[Outstanding], beside: dict[str, Beside]) -> list[tuple[str, int, int]]:
    """Of what there is beside fine-tuning: its name, how many cells it has, and how many of them are done.

    Of several learning rates one is attacked: the last stands for it, as the one that is chosen is not known before all have run.
    """
    of_one_rate = {(c.source, c.target, c.blocks, c.n_images, c.seed): c for pair in pairs for _, c in pair.with_weights}
    training, *of_experiments = ((name, part.n, part.n - len(part.lacking)) for name, part in beside.items())
    found = [training, ("attacks and their checks", *counts.attacks(settings, of_one_rate.values())), *of_experiments]
    return [(name, n, done) for name, n, done in found if n]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("named", nargs="*", metavar="PROFILE")
    command.call(main, **vars(parser.parse_args()))
