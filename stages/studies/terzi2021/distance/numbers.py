"""The gap in mode 0 against the distance of the target (Terzi et al. 2021, Figures 3, 7 and 8), by the features of either source."""

import numpy as np
import pandas as pd

from stages.lib.report import statistics
from stages.lib.report.reading import ExperimentResults
from stages.lib.report.results import at
from stages.studies.terzi2021.distance import ranks
from stages.studies.terzi2021.transfer.gaps import Gaps

FEATURES = ("standard", "robust")  # source whose features the distance is of
POINT = ["source", "reference", "features", "target"]


def points(gaps: Gaps, measured: ExperimentResults) -> pd.DataFrame:
    """A row for each pair of sources, features, target and source model: POINT, model, emd, difference (mean over subsets, mode 0).

    The models of both sources are paired by their number. Distances that were not measured leave no row.
    """
    emd = measured.runs.rename(columns={"value": "emd", "seed": "model", "source": "of"})[["of", "target", "model", "emd"]]
    rows = at(gaps.runs, mode=gaps.first_mode)
    rows = rows.assign(model=rows["source_model"].astype(str).str.split(" ").str[0].astype(int))
    rows = rows.groupby(["source", "reference", "target", "model"], sort=False)["difference"].mean().reset_index()
    parts = [rows.assign(features=name, of=rows[{"standard": "reference", "robust": "source"}[name]]) for name in FEATURES]
    both = pd.concat(parts, ignore_index=True).merge(emd, on=["of", "target", "model"], how="inner")
    return both[[*POINT, "model", "emd", "difference"]]


def means(found: pd.DataFrame) -> pd.DataFrame:
    """The same over models: POINT, n, emd, and mean, low and high of the gap."""
    rows = []
    for key, group in found.groupby(POINT, sort=False):
        interval = statistics.interval(group["difference"].to_numpy(), group["model"].to_numpy(), statistics.DIFFERENCE)
        rows.append((*key, len(group), group["emd"].mean(), *interval))
    return pd.DataFrame(rows, columns=[*POINT, "n", "emd", "mean", "low", "high"])


def correlations(found: pd.DataFrame) -> pd.DataFrame:
    """Spearman's correlation of gap and distance over targets, a row for each pair and features: source, reference, features, targets;
    rho, low, high and p of the means over models; `of_models`, a list with that of each model."""
    rows = []
    for key, group in found.groupby(POINT[:3], sort=False):
        table = means(group)
        rho, low, high, p = ranks.rank_correlation(table["emd"].tolist(), table["mean"].tolist())
        models = [ranks.rank_correlation(g["emd"].tolist(), g["difference"].tolist())[0] for _, g in group.groupby("model")]
        rows.append((*key, len(table), rho, low, high, p, [value for value in models if np.isfinite(value)]))
    return pd.DataFrame(rows, columns=[*POINT[:3], "targets", "rho", "low", "high", "p", "of_models"])
