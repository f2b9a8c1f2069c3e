"""Fine-tuning of one source on all targets: blocks x subset sizes x seeds; each run is a cell of the store.

Reads models/sources/<source>/, data/images/ and data/subsets/ of the targets, params.yaml: targets, blocks, finetune. Writes
models/finetuned/<source>/: runs.parquet, one row per evaluated epoch of each run, at the chosen one of several learning rates, and where
there is a choice rates.parquet, the same of all; in weights/<target>/ the weights of the runs that `finetune.keep` names, as
<blocks>_<n_images>_<seed>.safetensors, with the settings in weights/settings.json; and cells.json, the runs as cells, for machines that
pull them. Computes the cells that the store does not hold. With targets as further arguments it computes
only their runs into the store, and writes none of these files: so a job of a cluster does a part of the work, and the stage finds it done.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from stages.lib import command
from stages.lib.datasets import sets, subsets
from stages.lib.datasets.sets import IMAGES
from stages.lib.networks import sources
from stages.lib.progress import log
from stages.lib.runs import computing, grid, missing
from stages.lib.runs.grid import Cell, Plan
from stages.lib.settings import params
from stages.lib.settings.sections import FinetuneSettings
from stages.lib.store import cells, files, packed, tables
from stages.lib.store.journal import Journal, execution
from stages.lib.training import selection


def main(source: str, targets: Sequence[str] = ()) -> None:
    settings, blocks, wanted = params.section("finetune"), params.section("blocks"), list(targets) or params.section("targets")
    inputs = [sources.folder_of(source), *(path for target in wanted for path in (IMAGES / target, subsets.path_of(target)))]
    shown = settings.model_dump() | {"blocks": blocks, "targets": wanted}
    outputs = [] if targets else [tables.finetuned(source)]
    with execution("finetune", source, *targets, settings=shown, inputs=inputs, outputs=outputs) as journal:
        journal.params({"source": source, "target": ", ".join(wanted)})
        plans = [plan for target in wanted for plan in grid.plans_of(source, target, blocks, settings)]
        compute_missing("-".join([f"finetune@{source}", *targets]), plans, settings, journal)
        if not targets:
            journal.metrics(accuracies(save(source, plans, settings), metrics_of(plans)))


def compute_missing(title: str, plans: list[Plan], settings: FinetuneSettings, journal: Journal) -> None:
    """Compute the cells that the store does not hold; a cell that fails stops no other, and is listed at the end.

    Raises:
        RunError: says how many cells failed, and why.
    """
    keep = weights_to_keep(plans, settings)
    absent = [grid.missing(plan.cells, keep, log) for plan in plans]
    total, computed = sum(len(plan.cells) for plan in plans), sum(map(len, absent))
    journal.metrics({"cells": total, "cells_from_store": total - computed})
    if not computed:
        log(f"{title}: all {total} runs are in the store")
        return

    def ended(cell: Cell) -> None:
        result = cells.load("finetune", cell.key)
        rows = result["rows"]
        history = [(row["epoch"], {name: value for name, value in row.items() if name != "epoch"}) for row in rows]
        journal.cell(cell.key, columns_of(cell) | ({"held_out": cell.held_out} if cell.held_out else {}), history, result.get("seconds", 0))

    work = [(plan, part) for plan, part in zip(plans, absent, strict=True) if part]
    outcomes = computing.compute(work, params.section("grid"))
    missing.follow(title, total, [cell for part in absent for cell in part], outcomes, unit="run", ended=ended)


def weights_to_keep(plans: list[Plan], settings: FinetuneSettings) -> set[str]:
    """Keys of the cells that must hold their weights: at every rate, and once all runs of a target are done, at the chosen ones."""
    keys = {cell.key for plan in plans for cell in plan.with_weights}
    for target in dict.fromkeys(plan.job.target for plan in plans) if settings.select and keys else ():
        of_target = [plan for plan in plans if plan.job.target == target]
        results = {cell.key: cells.load("finetune", cell.key) for plan in of_target for cell in plan.cells}
        if None not in results.values():
            chosen = set(selection.reported(table_of(of_target, results), metrics_of(of_target), settings.select)["cell"])
            keys -= {key for key in results if key[:16] not in chosen}
    return keys


def save(source: str, plans: list[Plan], settings: FinetuneSettings) -> pd.DataFrame:
    """Write the table of all runs, which is returned, the weights that are kept, and the cells."""
    results = {cell.key: cells.load("finetune", cell.key) for plan in plans for cell in plan.cells}
    of_rates = table_of(plans, results)
    table = selection.reported(of_rates, metrics_of(plans), settings.select)[list(tables.RUNS)].astype(tables.RUNS)
    files.write_parquet(tables.finetuned(source) / "runs.parquet", table)
    save_rates(tables.finetuned(source) / "rates.parquet", of_rates if settings.select else None, table)
    out, chosen = tables.kept_weights(source), set(table["cell"])
    of_chosen = [cell for plan in plans for cell in plan.with_weights if cell.key[:16] in chosen]
    kept = {out / cell.target / f"{cell.blocks}_{cell.subset}.safetensors": cell.key for cell in of_chosen}
    for path, key in kept.items():
        files.write_bytes(path, cells.path_of("finetune", key, ".safetensors").read_bytes())
    for path in set(out.glob("*/*.safetensors")) - set(kept):
        path.unlink()  # left by an earlier run without DVC, which begins with an empty folder
    files.write_json(out / "settings.json", settings.model_dump())
    packed.pack(tables.finetuned(source), results, set(kept.values()))
    return table


def save_rates(path: Path, of_rates: pd.DataFrame | None, chosen: pd.DataFrame) -> None:
    """Write the table of all rates, where one is chosen; it says which rows are reported."""
    if of_rates is None:
        path.unlink(missing_ok=True)  # of an earlier run without DVC
        return
    by = ["cell", "epoch"]
    reported = of_rates[by].merge(chosen[[*by, "reported"]], how="left", on=by)["reported"].eq(True)
    files.write_parquet(path, of_rates.assign(reported=reported.to_numpy(dtype=bool)))


def table_of(plans: list[Plan], results: dict[str, dict[str, Any]]) -> pd.DataFrame:
    """`tables.RATES` of all runs, of which none is reported yet; results: by the keys of the cells."""
    rows = [
        columns_of(cell) | row | {"cell": cell.key[:16], "held_out": cell.held_out, "reported": False}
        for plan in plans
        for cell in plan.cells
        for row in results[cell.key]["rows"]
    ]
    return pd.DataFrame(rows, columns=list(tables.RATES)).astype(tables.RATES)


def metrics_of(plans: list[Plan]) -> dict[str, str]:
    """The metric that each target is reported by."""
    return {target: sets.card_of(target).metric for target in dict.fromkeys(plan.job.target for plan in plans)}


def accuracies(runs: pd.DataFrame, metrics: dict[str, str]) -> dict[str, float]:
    """Mean test accuracy, as `digits/1/100_images`: target, blocks, size; or its mean over classes, `pets/1/100_images/mean_per_class`.

    MLflow's charts cut longer names.
    """
    rows = runs[runs["reported"]]
    means = rows.assign(score=selection.scores(rows, metrics, "test")).groupby(["target", "blocks", "n_images"], sort=False)["score"].mean()
    names = {target: "" if metric == "accuracy" else f"/{metric}" for target, metric in metrics.items()}
    return {f"{target}/{blocks}/{n}_images{names[target]}": mean for (target, blocks, n), mean in means.items()}


def columns_of(cell: Cell) -> dict[str, str | int]:
    """The columns of a table that name a cell."""
    return {
        "source": cell.source, "target": cell.target, "blocks": str(cell.blocks), "n_images": cell.n_images, "seed": cell.seed,
        "source_model": cell.source_model, "lr": cell.lr,
    }  # fmt: skip


if __name__ == "__main__":
    command.run(main, __doc__, "source", "targets*")
