"""Means and differences of every source, target, number of blocks and number of images, as files and as the page shows them."""

from typing import Any

import pandas as pd

from stages.lib.report import statistics
from stages.lib.report.evidence import surely_best
from stages.lib.report.results import Results, at

MEANS = ["source", "target", "blocks", "n_images", "size"]


def tables_of(results: Results) -> dict[str, pd.DataFrame]:
    """Means and differences from natural at the last epoch, and means by epoch at the compared size, each with the metric of its target."""
    perturbed = [name for name in results.cards if results.family(name) not in ("natural", "random")]
    pairs = statistics.minus(results.last, perturbed, results.natural)
    of_size = at(results.runs, size=results.size)
    made = {
        "summary": statistics.summarise(results.last, MEANS, "test_accuracy"),
        "differences": statistics.summarise(pairs, MEANS, "difference", statistics.DIFFERENCE),
        "epochs": statistics.summarise(of_size, [*MEANS, "epoch"], "test_accuracy"),
    }
    return {name: table.assign(metric=table["target"].map(lambda t: results.metrics.get(t, "accuracy"))) for name, table in made.items()}


def plots_of(tables: dict[str, pd.DataFrame]) -> dict[str, pd.DataFrame]:
    """For `dvc plots show`: accuracy against n_images, and against the epoch at the headline's n_images."""
    return {
        name: tables[table].rename(columns={"mean": "test_accuracy"}) for name, table in (("accuracy", "summary"), ("epochs", "epochs"))
    }


def metrics_of(results: Results, tables: dict[str, pd.DataFrame]) -> dict[str, Any]:
    """Few enough figures for a line of `dvc exp show`: of each target `best`, the accuracy of its best source at the headline's blocks and
    n_images, and `gain`, by how many points the best robust source is above natural there; and how many runs of all have diverged."""
    metrics: dict[str, Any] = {}
    for target in results.targets:
        means, gaps = (at(tables[name], target=target, size=results.size) for name in ("summary", "differences"))
        means = means[(means["blocks"] == results.blocks) | (means["source"] == results.random)]
        gaps = gaps[(gaps["blocks"] == results.blocks) & gaps["source"].isin(results.robust)]
        known = {"best": means["mean"].max(), "gain": gaps["mean"].max()}
        metrics[target] = {name: round(value, 3) for name, value in known.items() if pd.notna(value)}
    return metrics | {"diverged_runs": int(results.diverged["n"].sum())}


def rows_by_target(results: Results, summary: pd.DataFrame) -> list[dict[str, Any]]:
    """Per target, a row for each blocks and n_images, with the summary's row of each source, and the source that is surely the best."""
    by_target = []
    for target in results.targets:
        rows = []
        for (blocks, n), group in at(summary, target=target).groupby(["blocks", "n_images"], sort=False):
            cells = {r["source"]: r for r in group.to_dict("records")}
            top = surely_best(at(results.last, target=target, blocks=blocks, n_images=n))
            rows.append({"blocks": blocks, "n_images": n, "cells": cells, "top": top})
        by_target.append({"target": target, "rows": rows})
    return by_target
