"""The paper's Table 7 from our runs: accuracy per target and number of images, with the published value beside it.

Utrera et al. (ICLR 2021), Table 7: test accuracy after fine-tuning three blocks, and of the whole network trained from random
weights. A source of ours is set beside a published column where params.yaml says that it stands for it, and only where we
fine-tuned as many blocks. Up to 1,600 images the authors' results by seed are known, and a difference has the interval of two means
with a variance each; the published values of more images are means without one, and so are their differences.
"""

from collections import defaultdict
from itertools import groupby
from typing import Any

import numpy as np
import pandas as pd

from stages.lib.report import statistics
from stages.lib.report.evidence import surely_best
from stages.studies.utrera2021.authors import BLOCKS, EPOCHS
from stages.studies.utrera2021.results import UtreraResults

COLUMNS = ["natural", "l2_eps3", "linf_eps4_255", "linf_eps8_255", "random_init"]
TRANSFERRED = COLUMNS[:-1]  # the best of these is marked in each published row


def published_of(results: UtreraResults, published: pd.DataFrame) -> pd.DataFrame:
    """Published values that ours are compared with: target, n_images, column, published; of our targets, by name."""
    long = published.melt(["target", "n_images"], COLUMNS, "column", "published")
    return long[long["target"].isin(results.targets)] if results.blocks == BLOCKS and results.published else long[:0]


def table7(results: UtreraResults, published: pd.DataFrame, seeds: pd.DataFrame) -> pd.DataFrame:
    """Table 7 of these results: a row per target, n_images and source, in the order of the paper's columns.

    Args:
        published: Table 7 as published: target, n_images and a column per source.
        seeds: mean and standard deviation over the authors' seeds: target, source, blocks, n_images, epoch, n, mean, sd.

    Returns:
        target, n_images, size, source, column, n, mean, low, high, diverged (how many of the n), published, difference,
        difference_low, difference_high, best (of ours with pre-training, surely better than each other one of the row), published_best
        (the highest).
    """
    order = order_of(results)
    chosen = results.last[(results.last["blocks"] == results.blocks) | (results.last["source"] == results.random)]
    keys = ["target", "n_images", "size", "source"]
    table = statistics.summarise(chosen[chosen["source"].isin(order)], keys, "test_accuracy")
    column = {source: name for name, source in results.published.items()}
    table = table.assign(column=[column.get(source, "") for source in table["source"]])
    table = table.merge(published_of(results, published), how="left", on=["target", "n_images", "column"])
    table = with_interval(table, chosen, seeds)
    pretrained = chosen[chosen["source"].isin(order) & (chosen["source"] != results.random)]
    best = {key: surely_best(group) for key, group in pretrained.groupby(["target", "n_images"])}
    table["best"] = [best.get((row.target, row.n_images)) == row.source for row in table.itertuples()]
    table["published_best"] = highest(table, "published", table["column"].isin(TRANSFERRED))
    places = {"target": results.targets.index, "source": order.index}
    table = table.sort_values(
        ["target", "n_images", "source"], key=lambda c: c.map(places[c.name]) if c.name in places else c, ignore_index=True
    )
    of_runs = [name for name in ("n", "mean", "low", "high", "diverged") if name in table]
    return table[[*keys, "column", *of_runs, "published", *(c for c in table if c.startswith("difference")), "best", "published_best"]]


def with_interval(table: pd.DataFrame, runs: pd.DataFrame, seeds: pd.DataFrame) -> pd.DataFrame:
    """The table with the difference of our mean from the published one, and its interval where both variances are known."""
    theirs = of_authors(seeds)
    ours = {
        key: statistics.spread(group["test_accuracy"].to_numpy(), group["source_model"].to_numpy())
        for key, group in runs.groupby(["target", "n_images", "source"])
    }
    bounds = [
        statistics.welch(row.mean - row.published, ours[row.target, row.n_images, row.source], theirs[row.target, row.n_images, row.column])
        for row in table.itertuples()
    ]
    low, high = np.array(bounds).reshape(-1, 2).T
    return table.assign(difference=table["mean"] - table["published"], difference_low=low, difference_high=high)


def of_authors(seeds: pd.DataFrame) -> dict[tuple[str, int, str], tuple[float, int]]:
    """Spread of the authors' results behind a published mean, by target, n_images and column of Table 7; NaN where it is not known."""
    rows = seeds[(seeds["blocks"].astype(str) == BLOCKS) & (seeds["epoch"] == EPOCHS)]
    return defaultdict(lambda: (np.nan, 0), {(row.target, row.n_images, row.source): (row.sd, row.n) for row in rows.itertuples()})


def order_of(results: UtreraResults) -> list[str]:
    """Sources in the order of the paper's columns; then sources that stand for no column, and random initialisation last."""
    paper = [results.published[name] for name in TRANSFERRED if name in results.published]
    others = [name for name in results.cards if name not in paper and name != results.random]
    return [*paper, *others, *([results.random] if results.random else [])]


def highest(table: pd.DataFrame, value: str, among: pd.Series) -> pd.Series:
    """Whether a row has the highest value of its target and n_images; False where there is no other to be better than."""
    values = table[value].where(among)
    groups = values.groupby([table["target"], table["n_images"]])
    return (values == groups.transform("max")) & (groups.transform("count") > 1)


def rows_of(table: pd.DataFrame) -> list[dict[str, Any]]:
    """The table as the page shows it: the rows of each target, each row with the cell of each source."""
    by_target = []
    for target, lines in groupby(table.replace({np.nan: None}).to_dict("records"), key=lambda line: line["target"]):
        sizes = [(n, list(cells)) for n, cells in groupby(lines, key=lambda line: line["n_images"])]
        rows = [{"n_images": n, "cells": {c["source"]: c for c in cells}} for n, cells in sizes]
        by_target.append({"target": target, "rows": rows})
    return by_target


def agreement(table: pd.DataFrame) -> dict[str, float] | None:
    """How many differences exclude zero, of those that have an interval, and how many would by chance; None without any."""
    both = table.dropna(subset=["difference_low"])
    if both.empty:
        return None
    outside = (both["difference_low"] > 0) | (both["difference_high"] < 0)
    return {"compared": len(both), "outside": int(outside.sum()), "by_chance": (1 - statistics.LEVEL) * len(both)}
