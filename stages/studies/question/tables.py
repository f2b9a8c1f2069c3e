"""Means and differences of every source, target, number of blocks and number of images, as files and as the page shows them."""

from typing import Any

import pandas as pd

from stages.lib.report import statistics
from stages.lib.report.evidence import surely_best
from stages.lib.report.results import Results, at

MEANS = ["source", "target", "blocks", "n_images", "size"]


def tables_of(results: Results) -> dict[str, pd.DataFrame]:
    """Means and differences from natural at the last epoch, and means by epoch at the compared size."""
    perturbed = [name for name in results.cards if results.family(name) not in ("natural", "random")]
    pairs = statistics.minus(results.last, perturbed, results.natural)
    of_size = at(results.runs, size=results.size)
    return {
        "summary": statistics.summarise(results.last, MEANS, "test_accuracy"),
        "differences": statistics.summarise(pairs, MEANS, "difference", statistics.DIFFERENCE),
        "epochs": statistics.summarise(of_size, [*MEANS, "epoch"], "test_accuracy"),
    }


def plots_of(tables: dict[str, pd.DataFrame]) -> dict[str, pd.DataFrame]:
    """For `dvc plots show`: accuracy against n_images, and against the epoch at the headline's n_images."""
    return {
        name: tables[table].rename(columns={"mean": "test_accuracy"}) for name, table in (("accuracy", "summary"), ("epochs", "epochs"))
    }


def metrics_of(results: Results, tables: dict[str, pd.DataFrame]) -> dict[str, Any]:
    """Accuracy, and each robust source's difference from natural, at the headline's n_images: target, blocks, source; how many runs of all
    have diverged."""
    metrics: dict[str, Any] = {}
    differences = tables["differences"][tables["differences"]["source"].isin(results.robust)]
    for (target, blocks), rows in at(tables["summary"], size=results.size).groupby(["target", "blocks"], sort=False):
        entry: dict[str, Any] = {"accuracy": {r.source: round(r.mean, 3) for r in rows.itertuples()}}
        gaps = at(differences, size=results.size, target=target, blocks=blocks)
        if len(gaps):
            known = gaps.set_index("source")[["mean", "low", "high"]].round(3)
            entry["minus_natural"] = {source: row.dropna().to_dict() for source, row in known.iterrows()}
        metrics.setdefault(target, {})[f"blocks_{blocks}"] = entry
    on_source = {n: {s: round(a, 3) for s, a in card["accuracy"].items()} for n, card in results.cards.items() if card["accuracy"]}
    return metrics | {"source_data": on_source, "diverged_runs": int(results.diverged["n"].sum())}


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
