"""Which of several learning rates, and which epoch, fine-tuning runs are reported by.

One rate is chosen for each source, target, number of blocks and of images, by its mean score over the trials: subsets, seeds and models
of the source. The score is that of the target's metric, on the test images, as Salman et al. (2020) published, or on validation images,
which other runs at the same rate do not learn from; what is reported are then the runs that learn from all images.
"""

from collections.abc import Mapping

import numpy as np
import pandas as pd

from stages.lib.settings.sections import Selection

SETTING = ["source", "target", "blocks", "n_images"]  # what one rate is chosen for
RUN = [*SETTING, "seed", "lr"]
LAST = Selection(by="test")  # with a single rate nothing is chosen


def reported(table: pd.DataFrame, metrics: Mapping[str, str], how: Selection | None) -> pd.DataFrame:
    """The runs at the chosen rates, with all their evaluated epochs; the column `reported` says by which one each of them is reported.

    Args:
        table: `store.tables.RATES`, but for `reported`; the first of equal rates is that of the first rows.
        metrics: of each target, `accuracy` or `mean_per_class`.
        how: by what is chosen; None: there is one rate, and the last epoch counts.
    """
    how = how or LAST
    whole = table[table["held_out"] == 0]
    compared = whole if how.by == "test" else table[table["held_out"] > 0]
    picked = epochs_of(compared.assign(score=scores(compared, metrics, how.by)), how.epoch)
    means = picked.groupby([*SETTING, "lr"], sort=False)["score"].mean().reset_index()
    chosen = means.loc[means.groupby(SETTING, sort=False)["score"].idxmax(), [*SETTING, "lr"]]
    runs = whole.merge(chosen, on=[*SETTING, "lr"]).merge(picked.rename(columns={"epoch": "_epoch"})[[*RUN, "_epoch"]], on=RUN)
    return runs.assign(reported=runs["epoch"] == runs["_epoch"]).drop(columns="_epoch")


def scores(table: pd.DataFrame, metrics: Mapping[str, str], split: str) -> np.ndarray:
    """The score of each row on the `test` or the `validation` images, by the metric of its target."""
    by_class = table["target"].map(metrics).eq("mean_per_class").to_numpy()
    return np.where(by_class, table[f"{split}_mean_per_class"], table[f"{split}_accuracy"])


def epochs_of(table: pd.DataFrame, which: str) -> pd.DataFrame:
    """Of each run, its `last` evaluated epoch, or the one with the `best` score, the first of several."""
    by = "epoch" if which == "last" else "score"
    return table.loc[table.groupby(RUN, sort=False)[by].idxmax()]
