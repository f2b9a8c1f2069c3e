"""Fine-tuning of one source on one target: blocks x subset sizes x seeds, each run one cell of the store.

Reads models/sources/<source>.*, data/images/<target>/, data/subsets/<target>.npz, params.yaml: blocks, finetune. Writes
models/finetuned/<source>/<target>/: runs.parquet, one row per evaluated epoch of each run, and in weights/ those of the runs that
`finetune.keep` names, as <blocks>_<n_images>_<seed>.safetensors beside settings.json. Computes the cells that the store does
not hold.
"""

from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd

from stages.lib import command
from stages.lib.datasets import subsets
from stages.lib.datasets.sets import IMAGES, card_of
from stages.lib.errors import RunError
from stages.lib.networks import sources
from stages.lib.progress import bar, log
from stages.lib.runs import computing, grid
from stages.lib.runs.grid import Cell, Job
from stages.lib.settings import params
from stages.lib.store import cells, files
from stages.lib.store.journal import Journal, execution
from stages.lib.store.tables import FINETUNED, RUNS, kept_weights


def main(source: str, target: str) -> None:
    settings, blocks = params.section("finetune"), params.section("blocks")
    out = FINETUNED / source / target
    inputs = [*sources.paths(source), IMAGES / target, subsets.path_of(target)]
    with execution(
        "finetune", source, target, settings=settings.model_dump() | {"blocks": blocks}, inputs=inputs, outputs=[out]
    ) as journal:
        drawn = subsets.load(target)
        job = grid.job_of(sources.card_of(source), card_of(target), settings)
        planned = grid.plan(job, blocks, drawn, partial(grid.schedule, settings, card_of(target).splits["train"].n))
        kept = grid.kept(settings.keep, planned)
        compute_missing(job, planned, kept, drawn, journal)
        files.write_parquet(out / "runs.parquet", table(planned))
        write_weights(kept_weights(source, target), kept)
        files.write_json(kept_weights(source, target) / "settings.json", settings.model_dump())


def compute_missing(job: Job, planned: list[Cell], kept: list[Cell], drawn: dict[str, np.ndarray], journal: Journal) -> None:
    """Compute what the store does not hold; what fails is listed at the end, and stops nothing else.

    Raises:
        RunError: names each cell that failed, and why.
    """
    keep = {cell.key for cell in kept}
    absent = grid.missing(planned, keep, log)
    journal.metrics({"cells": len(planned), "cells_from_store": len(planned) - len(absent)})
    if not absent:
        log(f"finetune@{job.source}-{job.target}: all {len(planned)} runs are in the store")
        return
    failed: dict[str, str] = {}
    with bar(title=f"finetune@{job.source}-{job.target}", total=len(planned), unit="run") as progress:
        progress.update(len(planned) - len(absent))
        for cell, error in computing.compute(job, planned, absent, drawn, keep, params.section("grid")):
            progress.update()
            if error is None:
                result = cells.load("finetune", cell.key)
                journal.cell(cell.key, described(cell), [(row["epoch"], measured(row)) for row in result["rows"]])
            else:
                failed[cell.key] = f"blocks {cell.blocks}, n_images {cell.n_images}, seed {cell.seed}: {error}"
    if failed:  # in the order of the runs, whichever ended first
        told = "; ".join(failed[cell.key] for cell in planned if cell.key in failed)
        raise RunError(f"{job.source} on {job.target}: {len(failed)} of {len(planned)} runs failed; the others are kept. {told}")


def table(planned: list[Cell]) -> pd.DataFrame:
    rows = [described(cell) | row | {"cell": cell.key[:16]} for cell in planned for row in cells.load("finetune", cell.key)["rows"]]
    return pd.DataFrame(rows)[list(RUNS)].astype(RUNS)


def write_weights(out: Path, kept: list[Cell]) -> None:
    weights = {out / f"{cell.blocks}_{cell.subset}.safetensors": cell.key for cell in kept}
    for path, key in weights.items():
        files.write_bytes(path, cells.path_of("finetune", key, ".safetensors").read_bytes())
    for path in set(out.glob("*.safetensors")) - set(weights):
        path.unlink()  # of an earlier run by hand; DVC begins with an empty folder


def described(cell: Cell) -> dict:
    return {"source": cell.source, "target": cell.target, "blocks": str(cell.blocks), "n_images": cell.n_images, "seed": cell.seed}


def measured(row: dict) -> dict[str, float]:
    return {name: value for name, value in row.items() if name != "epoch"}


if __name__ == "__main__":
    command.run(main, __doc__, "source", "target")
