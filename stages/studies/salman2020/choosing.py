"""The best radius, chosen on some runs and measured on others.

What is chosen and measured on the same runs looks better than it is. So one half of the runs chooses, the other half measures, and then
they change roles. The halves are every second source model or, where a source is one model, every second subset. A half chooses from
what the other half measures, so that both are not wholly independent: of pure noise, 5.5 to 7.2 of 100 intervals of 95 % exclude zero
(4 to 20 parts, 3 to 10 radii: `benchmarks.choosing`; of leaving out one part at a time, 7.2 to 20.5). The published figures are the
highest on the test images over all radii and learning rates.
"""

import numpy as np
import pandas as pd

from stages.lib.report import statistics

PARTS = ["part", "chosen", "accuracy", "reference", "difference"]
Candidate = tuple[str, float]  # architecture and eps


def table_of(runs: pd.DataFrame) -> pd.DataFrame:
    """Mean accuracy of each part (rows) at each architecture and eps (columns); only parts that have all.

    Args:
        runs: of one mode and target: architecture, eps, source_model, seed, test_accuracy.
    """
    part = "source_model" if runs["source_model"].nunique() > 1 else "seed"
    return runs.pivot_table(index=part, columns=["architecture", "eps"], values="test_accuracy", sort=False).dropna()


def best_of(table: pd.DataFrame) -> Candidate | None:
    """The column with the highest mean, of equals the first; None without any."""
    return None if table.empty else table.mean().idxmax()


def measured(runs: pd.DataFrame) -> pd.DataFrame:
    """The best robust column, chosen on the other half, minus the best natural one, chosen so, too: PARTS, a row for each part.

    With one architecture there is one natural column, and nothing to choose. Empty where there is no robust or no natural column, or a
    single part.
    """
    return measured_of(table_of(runs))


def measured_of(table: pd.DataFrame) -> pd.DataFrame:
    """`measured` from the mean accuracy of each part at each architecture and eps, as `table_of` makes it."""
    robust = [column for column in table if column[1] > 0]
    natural = [column for column in table if column[1] == 0]
    if not robust or not natural or len(table) < 2:
        return pd.DataFrame(columns=PARTS)
    return by_halves(table[robust], table[natural])


def by_halves(robust: pd.DataFrame, natural: pd.DataFrame) -> pd.DataFrame:
    """The best column of `robust` minus that of `natural`, each chosen by the other half of the parts, which are the rows: PARTS.

    A single part chooses by itself.
    """
    half, rows = np.arange(len(robust)) % 2, {}
    for measuring in np.unique(half):
        choosing = half != measuring if len(robust) > 1 else half == measuring
        chosen, reference = best_of(robust[choosing]), best_of(natural[choosing])
        for part in robust.index[half == measuring]:
            accuracies = float(robust.loc[part, chosen]), float(natural.loc[part, reference])
            rows[part] = (part, chosen, *accuracies, round(accuracies[0] - accuracies[1], 9))
    return pd.DataFrame([rows[part] for part in robust.index], columns=PARTS)


def differences(runs: pd.DataFrame) -> pd.DataFrame:
    """`measured` with the columns that make evidence of it: difference, source_model, and diverged where runs say it."""
    found = measured(runs)
    models = found["part"] if runs["source_model"].nunique() > 1 else np.zeros(len(found), dtype=int)
    return found.assign(source_model=models)


def summary(runs: pd.DataFrame) -> dict:
    """What one row of Figures 2 and 3 or Table 1 shows, in percent.

    Returns:
        best: architecture and eps with the highest mean over all parts; chosen: the eps that either half chooses, sorted;
        of `robust`, `natural` and `difference`, mean, low and high; n parts. NaN and None where nothing is measured.
    """
    table, found = table_of(runs), differences(runs)
    robust = [column for column in table if column[1] > 0]
    best = best_of(table[robust]) if len(table) else None
    row = {"best": best, "chosen": sorted({eps for _, eps in found["chosen"]}), "n": len(found)}
    columns = (("robust", "accuracy", statistics.ACCURACY), ("natural", "reference", statistics.ACCURACY),
               ("difference", "difference", statistics.DIFFERENCE))  # fmt: skip
    for name, column, bounds in columns:
        models = found["source_model"].to_numpy()
        values = statistics.interval(found[column].to_numpy(dtype=float), models, bounds)
        row |= dict(zip((f"{name}_mean", f"{name}_low", f"{name}_high"), values, strict=True))
    return row
