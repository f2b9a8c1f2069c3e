"""The answer to the question that the report opens with: the best source of each target, and which others cannot be told from it.

Half of the subsets choose the best source, and the other half measure how far it is from the others: a source that is chosen and
measured on the same runs looks better than it is.
"""

from dataclasses import dataclass, field

import pandas as pd

from stages.lib.report import statistics
from stages.lib.report.evidence import SUPPORTS, Evidence, corrected, over_seeds
from stages.lib.report.results import Results, at
from stages.lib.report.statistics import MIN_N


@dataclass(frozen=True)
class Answer:
    """The source that half of the subsets choose for a target, and its differences from all others on the other half.

    Without a source where the other half has fewer than MIN_N subsets.
    """

    target: str
    n: int  # subsets that measure
    best: str | None = None
    accuracy: tuple[float, float, float] | None = None  # mean, low, high, in percent
    runner_up: str | None = None  # the second on the half that chooses
    differences: dict[str, Evidence] = field(default_factory=dict)  # best minus each other source, corrected over all of them

    @property
    def tied(self) -> list[str]:
        """Sources that cannot be told from the best one, or are better on the half that measures."""
        return [name for name, evidence in self.differences.items() if evidence.verdict != SUPPORTS]

    def shown(self, natural: str) -> list[str]:
        """Sources whose difference is shown: the runner-up, those that are tied, and natural."""
        return [name for name in dict.fromkeys([self.runner_up, *self.tied, natural]) if name in self.differences]


def answers(results: Results) -> list[Answer]:
    """The answer of each target at the compared blocks and size; random initialisation takes part with its whole network."""
    return [answer for target in results.targets if (answer := answer_of(results, target))]


def answer_of(results: Results, target: str) -> Answer | None:
    rows = runs_at_setting(results, target)
    if rows.empty:
        return None
    choosing, measuring = halves(rows)
    n = measuring["seed"].nunique()
    means = by_mean(results, choosing)
    if n < MIN_N or means.empty:
        return Answer(target, n)
    best, *others = map(str, means.index)
    ours = at(measuring, source=best)
    compared = [over_seeds(*_gap(results, ours, measuring, name)) for name in others]
    accuracy = statistics.interval(ours["test_accuracy"].to_numpy(), ours["source_model"].to_numpy(), statistics.ACCURACY)
    differences = dict(zip(others, corrected(compared), strict=True))
    return Answer(target, n, best, accuracy, others[0] if others else None, differences)


def runs_at_setting(results: Results, target: str) -> pd.DataFrame:
    """The runs on a target that sources are compared by, at their last epoch."""
    rows = at(results.last, target=target, size=results.size)
    return rows[(rows["blocks"] == results.blocks) | (rows["source"] == results.random)]


def by_mean(results: Results, rows: pd.DataFrame) -> pd.Series:
    """Mean accuracy of each source, the best first."""
    means = rows.groupby("source")["test_accuracy"].mean().reindex(list(results.cards)).dropna()
    return means.sort_values(ascending=False, kind="stable")


def ranking(results: Results) -> pd.DataFrame:
    """The order in which the choosing half of the subsets puts the sources of each target, or its only subset: target, source, mean."""
    tables = [pd.DataFrame(columns=["target", "source", "mean"])]
    for target in results.targets:
        rows = runs_at_setting(results, target)
        choosing, _ = halves(rows)
        means = by_mean(results, rows if choosing.empty else choosing)
        tables.append(means.rename("mean").rename_axis("source").reset_index().assign(target=target)[list(tables[0])])
    return pd.concat(tables[1:] or tables, ignore_index=True)


def halves(rows: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Every second subset of each source model, which choose, and the others, which measure; of an odd number one more measures."""
    models = rows.groupby("seed")["source_model"].max().sort_index()  # of a source with several; the same subsets go to each source
    chosen = set(models.index[models.groupby(models).cumcount() % 2 == 1])
    is_chosen = rows["seed"].isin(chosen)
    return rows[is_chosen], rows[~is_chosen]


def _gap(results: Results, ours: pd.DataFrame, rows: pd.DataFrame, other: str) -> tuple[str, pd.DataFrame]:
    best = ours["source"].iloc[0]
    return f"{results.labels[best]} minus {results.labels[other]}", statistics.paired(ours, at(rows, source=other), ["seed"])


def better_of_natural_and_robust(results: Results, answer: Answer) -> str | None:
    """`natural` or `robust`, where the target's best source is of that kind and certainly better than natural, or than every robust one."""
    against = answer.differences
    robust = [against[name].verdict for name in results.robust if name in against]
    if answer.best in results.robust and results.natural in against and against[results.natural].verdict == SUPPORTS:
        return "robust"
    if answer.best == results.natural and robust and set(robust) == {SUPPORTS}:
        return "natural"
    return None
