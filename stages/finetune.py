"""Fine-tuning of one source on one target: blocks x subset sizes x seeds, each run one cell of the store.

Reads models/sources/<source>.*, data/images/<target>/, data/subsets/<target>.npz, params.yaml: blocks, finetune. Writes
models/finetuned/<source>/<target>/: runs.parquet, one row per evaluated epoch of each run, and the weights that
`finetune.keep` names, as <blocks>_<n_images>_<seed>.safetensors. Computes the cells that the store does not hold.
"""

import numpy as np
import pandas as pd

from stages.lib import cells, command, files, grid, params, sources
from stages.lib.datasets import IMAGES, SUBSETS, card_of
from stages.lib.errors import RunError
from stages.lib.grid import Cell, Job
from stages.lib.journal import Journal, execution
from stages.lib.progress import bar, say
from stages.lib.settings import FinetuneSettings, KeptWeights
from stages.lib.sources import Card
from stages.lib.tables import FINETUNED, RUNS


def main(source: str, target: str) -> None:
    settings, blocks = params.section("finetune"), params.section("blocks")
    out, subsets_path = FINETUNED / source / target, SUBSETS / f"{target}.npz"
    inputs = [*sources.paths(source), IMAGES / target, subsets_path]
    with execution(
        "finetune", source, target, settings=settings.model_dump() | {"blocks": blocks}, inputs=inputs, outputs=[out]
    ) as journal:
        subsets = dict(np.load(subsets_path))
        job = job_of(sources.card_of(source), target, settings)
        planned = grid.plan(job, blocks, subsets)
        kept = [cell for cell in planned if keeps(settings.keep, cell, subsets)]
        compute_missing(job, planned, kept, subsets, journal)
        files.write_parquet(out / "runs.parquet", table(planned))
        for cell in kept:
            weights = cells.path_of("finetune", cell.key, ".safetensors").read_bytes()
            files.write_bytes(out / f"{cell.blocks}_{cell.n_images}_{cell.seed}.safetensors", weights)


def job_of(card: Card, target: str, settings: FinetuneSettings) -> Job:
    images = card_of(target)
    pretrained = card.kind != "random"
    return Job(
        source=card.name, target=target, architecture=card.architecture, classes=images.classes, head_init=settings.head_init,
        training=settings.model_dump(exclude={"head_init", "keep"}),
        source_sha256=card.sha256 if pretrained else None,
        weights=str(sources.paths(card.name)[0]) if pretrained else None,
        target_sha256=(images.splits["train"].sha256, images.splits["test"].sha256),
    )  # fmt: skip


def keeps(keep: KeptWeights, cell: Cell, subsets: dict[str, np.ndarray]) -> bool:
    """Whether the cell is one of those whose weights are kept: of its size, the first `n_seeds` seeds."""
    seeds = [int(name.split("_")[1]) for name in subsets if name.startswith(f"{cell.n_images}_")]
    return cell.blocks in keep.blocks and cell.n_images in keep.n_images and cell.seed in seeds[: keep.n_seeds]


def compute_missing(job: Job, planned: list[Cell], kept: list[Cell], subsets: dict[str, np.ndarray], journal: Journal) -> None:
    """Compute what the store does not hold; what fails is listed at the end, and stops nothing else.

    Raises:
        RunError: names each cell that failed, and why.
    """
    keep = {cell.key for cell in kept}
    absent = grid.missing(planned, keep, say)
    journal.metrics({"cells": len(planned), "cells_from_store": len(planned) - len(absent)})
    if not absent:
        say(f"finetune@{job.source}-{job.target}: all {len(planned)} runs are in the store")
        return
    failed = []
    with bar(title=f"finetune@{job.source}-{job.target}", total=len(planned), unit="run") as progress:
        progress.update(len(planned) - len(absent))
        for cell, error in grid.compute(job, absent, subsets, keep):
            progress.update()
            if error is None:
                result = cells.load("finetune", cell.key)
                journal.cell(cell.key, described(cell), [(row["epoch"], measured(row)) for row in result["rows"]])
            else:
                failed.append(f"blocks {cell.blocks}, n_images {cell.n_images}, seed {cell.seed}: {error}")
    if failed:
        raise RunError(
            f"{job.source} on {job.target}: {len(failed)} of {len(planned)} runs failed; the others are kept. " + "; ".join(failed)
        )


def table(planned: list[Cell]) -> pd.DataFrame:
    rows = [described(cell) | row | {"cell": cell.key[:16]} for cell in planned for row in cells.load("finetune", cell.key)["rows"]]
    return pd.DataFrame(rows)[list(RUNS)].astype(RUNS)


def described(cell: Cell) -> dict:
    return {"source": cell.source, "target": cell.target, "blocks": str(cell.blocks), "n_images": cell.n_images, "seed": cell.seed}


def measured(row: dict) -> dict[str, float]:
    return {name: value for name, value in row.items() if name != "epoch"}


if __name__ == "__main__":
    command.run(main, __doc__, "source", "target")
