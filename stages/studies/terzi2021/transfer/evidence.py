"""Evidence for what Terzi et al. (2021) claim about modes: one value for each source model, or for each subset of a source of one model."""

from collections.abc import Iterator

import numpy as np
import pandas as pd

from stages.lib.report.evidence import ABSENT, Evidence, over_models, over_seeds
from stages.lib.report.results import Results, at
from stages.lib.report.wording import counted
from stages.studies.terzi2021.transfer.gaps import MODES, Gaps


def on_targets(results: Results, gaps: Gaps, targets: list[str], expected: int, what: str) -> Iterator[Evidence]:
    """Robust minus standard in mode 0: the mean over some targets, which varies less, and each of them.

    Args:
        expected: the sign that the claim predicts.
        what: how the targets are called.
    """
    runs = at(gaps.runs, mode=gaps.first_mode)
    shown = [name for name in targets if name in gaps.targets]
    if not shown or runs.empty:
        yield Evidence(f"{what} targets, mode 0", note=ABSENT)
        return
    for robust in gaps.references:
        rows, name = at(runs[runs["target"].isin(shown)], source=robust), f"{results.labels[robust]} minus natural"
        wide = wide_of(rows, "target")
        if len(shown) > 1:
            yield over_parts(f"mean of {counted(len(shown), f'{what} target')}: {name}", wide.mean(axis=1), expected)
        for target in wide:
            yield over_parts(f"{target}: {name}", wide[target], expected)


def apart(results: Results, gaps: Gaps, near: list[str], distant: list[str]) -> Iterator[Evidence]:
    """The gap in mode 0 on distant targets minus that on near ones."""
    runs = at(gaps.runs, mode=gaps.first_mode)
    for robust in gaps.references:
        wide = wide_of(at(runs, source=robust), "target")
        sides = [[name for name in names if name in wide] for names in (distant, near)]
        if all(sides):
            difference = wide[sides[0]].mean(axis=1) - wide[sides[1]].mean(axis=1)
            yield over_parts(f"{results.labels[robust]}: gap on distant minus gap on near targets", difference)


def smaller(results: Results, gaps: Gaps) -> Iterator[Evidence]:
    """How much larger the gap is in mode 0 than in mode 1 or 2, whichever source is ahead: the mean over targets.

    The size of a mean of noisy values is too large on average. So the sign of each gap is taken from one half of the source models (or
    subsets), and its size from the other half; then the halves change roles.
    """
    first, later = gaps.first_mode, [mode for mode in ("norms", "all") if mode in gaps.modes]
    if not first or not later:
        yield Evidence("mode 0 against modes 1 and 2", note=ABSENT)
        return
    for robust in gaps.references:
        wide = wide_of(at(gaps.runs, source=robust), ["mode", "target"])
        if len(wide) < 2:
            yield Evidence(f"{results.labels[robust]}: sizes of gaps", note=ABSENT)
            continue
        sized = wide * signs_of_other_half(wide)
        for mode in later:
            shared = [target for target in gaps.targets if (first, target) in wide and (mode, target) in wide]
            difference = sum(sized[first, target] - sized[mode, target] for target in shared) / len(shared)
            name = f"{results.labels[robust]}: size of the gap in mode 0 minus {MODES[mode]}, mean of {counted(len(shared), 'target')}"
            yield over_parts(name, difference)


def signs_of_other_half(wide: pd.DataFrame) -> np.ndarray:
    """For each row and column the sign of the column's mean over the rows of the other half; halves are every second row."""
    half = np.arange(len(wide)) % 2
    signs = [np.sign(wide[half != own].mean().to_numpy()) for own in (0, 1)]
    return np.array([signs[own] for own in half])


def wide_of(rows: pd.DataFrame, by: str | list[str]) -> pd.DataFrame:
    """Mean differences of each source model, or of each subset where there is one model (rows), by target or more (columns)."""
    index = "source_model" if rows["source_model"].nunique() > 1 else "seed"
    return rows.pivot_table(index=index, columns=by, values="difference", sort=False).dropna()


def over_parts(comparison: str, values: pd.Series, expected: int = 1) -> Evidence:
    """Evidence from one value for each source model, or for each subset: the index says which."""
    if values.index.name == "source_model":
        return over_models(comparison, values.to_numpy(dtype=float), expected)
    return over_seeds(comparison, pd.DataFrame({"difference": values.to_numpy(dtype=float), "source_model": 0}), expected)
