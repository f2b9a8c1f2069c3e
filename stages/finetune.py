"""Fine-tuning of one source on all targets: blocks x subset sizes x seeds; each run is a cell of the store.

Reads models/sources/<source>/, data/images/ and data/subsets/ of the targets, params.yaml: targets, blocks, finetune. Writes
models/finetuned/<source>/: runs.parquet, one row per evaluated epoch of each run; in weights/<target>/ the weights of the runs that
`finetune.keep` names, as <blocks>_<n_images>_<seed>.safetensors, with the settings in weights/settings.json; and cells.json, the runs
as cells, for machines that pull them. Computes the cells that the store does not hold. With targets as further arguments it computes
only their runs into the store, and writes none of these files: so a job of a cluster does a part of the work, and the stage finds it done.
"""

from collections.abc import Sequence

import pandas as pd

from stages.lib import command
from stages.lib.datasets import subsets
from stages.lib.datasets.sets import IMAGES
from stages.lib.networks import sources
from stages.lib.progress import log
from stages.lib.runs import computing, grid, missing
from stages.lib.runs.grid import Cell, Plan
from stages.lib.settings import params
from stages.lib.settings.sections import FinetuneSettings
from stages.lib.store import cells, files, packed, tables
from stages.lib.store.journal import Journal, execution


def main(source: str, targets: Sequence[str] = ()) -> None:
    settings, blocks, wanted = params.section("finetune"), params.section("blocks"), list(targets) or params.section("targets")
    inputs = [sources.folder_of(source), *(path for target in wanted for path in (IMAGES / target, subsets.path_of(target)))]
    shown = settings.model_dump() | {"blocks": blocks, "targets": wanted}
    outputs = [] if targets else [tables.finetuned(source)]
    with execution("finetune", source, *targets, settings=shown, inputs=inputs, outputs=outputs) as journal:
        plans = [plan for target in wanted for plan in grid.plans_of(source, target, blocks, settings)]
        compute_missing("-".join([f"finetune@{source}", *targets]), plans, journal)
        if not targets:
            save(source, plans, settings)


def compute_missing(title: str, plans: list[Plan], journal: Journal) -> None:
    """Compute the cells that the store does not hold; a cell that fails stops no other, and is listed at the end.

    Raises:
        RunError: names each cell that failed, and why.
    """
    absent = [grid.missing(plan.cells, {cell.key for cell in plan.with_weights}, log) for plan in plans]
    total, computed = sum(len(plan.cells) for plan in plans), sum(map(len, absent))
    journal.metrics({"cells": total, "cells_from_store": total - computed})
    if not computed:
        log(f"{title}: all {total} runs are in the store")
        return

    def ended(cell: Cell) -> None:
        rows = cells.load("finetune", cell.key)["rows"]
        history = [(row["epoch"], {name: value for name, value in row.items() if name != "epoch"}) for row in rows]
        journal.cell(cell.key, columns_of(cell), history)

    work = [(plan, part) for plan, part in zip(plans, absent, strict=True) if part]
    outcomes = computing.compute(work, params.section("grid"))
    missing.follow(title, total, [cell for part in absent for cell in part], outcomes, unit="run", ended=ended)


def save(source: str, plans: list[Plan], settings: FinetuneSettings) -> None:
    """Write the table of all runs, the weights that are kept, and the cells."""
    planned = [cell for plan in plans for cell in plan.cells]
    results = {cell.key: cells.load("finetune", cell.key) for cell in planned}
    rows = [columns_of(cell) | row | {"cell": cell.key[:16]} for cell in planned for row in results[cell.key]["rows"]]
    table = pd.DataFrame(rows, columns=list(tables.RUNS)).astype(tables.RUNS)
    files.write_parquet(tables.finetuned(source) / "runs.parquet", table)
    out = tables.kept_weights(source)
    kept = {out / cell.target / f"{cell.blocks}_{cell.subset}.safetensors": cell.key for plan in plans for cell in plan.with_weights}
    for path, key in kept.items():
        files.write_bytes(path, cells.path_of("finetune", key, ".safetensors").read_bytes())
    for path in set(out.glob("*/*.safetensors")) - set(kept):
        path.unlink()  # left by an earlier run without DVC, which begins with an empty folder
    files.write_json(out / "settings.json", settings.model_dump())
    packed.pack(tables.finetuned(source), results, set(kept.values()))


def columns_of(cell: Cell) -> dict[str, str | int]:
    """The columns of a table that name a cell."""
    return {
        "source": cell.source, "target": cell.target, "blocks": str(cell.blocks), "n_images": cell.n_images, "seed": cell.seed,
        "source_model": cell.source_model,
    }  # fmt: skip


if __name__ == "__main__":
    command.run(main, __doc__, "source", "targets*")
