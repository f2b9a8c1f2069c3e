"""The authors' own results as lines beside ours: mean and interval by source, target, blocks, number of images and epoch.

Up to 1,600 images the mean and the standard deviation over their ten seeds are known, by epoch, for 0, 1 and 3 blocks; of more images
the means of Table 7 alone, which have no interval. Their seeds are known without their pairs: so a difference has the interval of
two independent means, which is wider than that of the same results paired.
"""

import numpy as np
import pandas as pd

from stages.lib.report import statistics
from stages.studies.utrera2021.published import Published
from stages.studies.utrera2021.results import UtreraResults

BLOCKS, EPOCHS = "3", 100  # of Table 7, up to 1,600 images
KEY = ["source", "target", "blocks", "n_images", "size", "epoch"]


def results_of_authors(results: UtreraResults, published: Published) -> pd.DataFrame:
    """The authors' means where ours stand beside them: KEY, n, mean, sd, last (whether the epoch is their last).

    Only of sources that params.yaml says stand for a column of Table 7, of targets of the same name, and of sizes that we have. Of
    more than 1,600 images epoch and sd are NaN, and n is 0.
    """
    seeds = published.seeds.assign(blocks=published.seeds["blocks"].astype(str), last=published.seeds["epoch"] == EPOCHS)
    known = seeds[["target", "n_images"]].drop_duplicates()
    seven = published.table7.melt(["target", "n_images"], [c for c in published.table7 if c in results.published], "source", "mean")
    seven = seven.merge(known, how="left", on=["target", "n_images"], indicator=True)
    seven = seven[seven["_merge"] == "left_only"].assign(blocks=BLOCKS, epoch=np.nan, sd=np.nan, n=0, last=True)
    rows = pd.concat([seeds, seven.drop(columns="_merge")], ignore_index=True)
    rows = rows.assign(source=rows["source"].map(results.published)).dropna(subset=["source"])
    ours = results.last[["target", "n_images", "size"]].drop_duplicates()
    return rows.merge(ours, on=["target", "n_images"])[[*KEY, "n", "mean", "sd", "last"]]


def accuracies(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows with the interval of each mean, which is Student's."""
    return _with_bounds(rows, [statistics.welch(row.mean, (row.sd, row.n)) for row in rows.itertuples()])


def differences(left: pd.DataFrame, right: pd.DataFrame, on: list[str]) -> pd.DataFrame:
    """`left` minus `right` where both have a row with the same values of the columns `on`, with the interval of each difference."""
    both = left.merge(right[[*on, "mean", "sd", "n"]], on=on, suffixes=("", "_of_right"))
    spreads = [((row.sd, row.n), (row.sd_of_right, row.n_of_right)) for row in both.itertuples()]
    both = both.assign(mean=both["mean"] - both["mean_of_right"], n=both[["n", "n_of_right"]].min(axis=1))
    return _with_bounds(both, [statistics.welch(mean, *of_both) for mean, of_both in zip(both["mean"], spreads, strict=True)])


def _with_bounds(rows: pd.DataFrame, bounds: list[tuple[float, float]]) -> pd.DataFrame:
    low, high = np.array(bounds, dtype=float).reshape(-1, 2).T
    return rows.assign(low=low, high=high)
