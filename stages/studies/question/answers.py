"""The answer to the question that the report opens with: the best source of each target, and which others cannot be told from it.

The same is asked once more with the number of blocks left open: which source, with how many blocks.

Half of the subsets, or fewer where an answer would have no interval otherwise, choose the best source, and the others measure how far it
is from the rest: a source that is chosen and measured on the same runs looks better than it is.
"""

from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from stages.lib.report import statistics
from stages.lib.report.evidence import SUPPORTS, Evidence, corrected, over_seeds
from stages.lib.report.results import Results, at
from stages.lib.report.statistics import MIN_N
from stages.lib.report.wording import block_order

NEEDED = MIN_N + 2  # subsets that an answer needs: of fewer than two none would be chosen by


@dataclass(frozen=True)
class Setting:
    """A source with a number of fine-tuned blocks: the one that half of the subsets choose of all, measured on the other half."""

    source: str
    blocks: str
    accuracy: tuple[float, float, float]  # mean, low, high, in percent
    gain: Evidence | None  # over the best source at the compared number of blocks; None where it is that
    tied: int  # settings that cannot be told from it, or are better on the half that measures ...
    others: int  # ... of so many


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
    any_blocks: Setting | None = None  # the best of all numbers of blocks; None where there is one alone

    @property
    def tied(self) -> list[str]:
        """Sources that cannot be told from the best one, or are better on the half that measures."""
        return [name for name, evidence in self.differences.items() if evidence.verdict != SUPPORTS]

    def shown(self, natural: str) -> dict[str, Evidence]:
        """The differences that are shown: from the runner-up, from those that are tied, and from natural."""
        return {name: self.differences[name] for name in [self.runner_up, *self.tied, natural] if name in self.differences}


def answers(results: Results) -> list[Answer]:
    """The answer of each target at the compared blocks and size; random initialisation takes part with its whole network."""
    return [answer for target in results.targets if (answer := answer_of(results, target))]


def answer_of(results: Results, target: str) -> Answer | None:
    """None where the target has no runs at the compared blocks and size."""
    of_size = at(results.last, target=target, size=results.size)
    rows = of_size[(of_size["blocks"] == results.blocks) | (of_size["source"] == results.random)]
    if rows.empty:
        return None
    choosing, measuring = halves(rows)
    n, ranked = measuring["seed"].nunique(), _ranked(choosing, results)
    if n < MIN_N or not ranked:
        return Answer(target, n)
    best, *others = (source for source, _ in ranked)
    ours = at(measuring, source=best)
    compared = [_gap(f"{results.labels[best]} minus {results.labels[name]}", ours, at(measuring, source=name)) for name in others]
    differences = dict(zip(others, corrected(compared), strict=True))
    return Answer(target, n, best, _mean(ours), others[0] if others else None, differences, _any_blocks(results, of_size, ranked[0]))


def _any_blocks(results: Results, rows: pd.DataFrame, compared: tuple[str, str]) -> Setting | None:
    """The best of all settings of a target and size; `compared` is the best one at the compared number of blocks."""
    choosing, measuring = halves(rows)
    best, *others = _ranked(choosing, results)
    if rows.loc[rows["source"] != results.random, "blocks"].nunique() < 2:
        return None
    ours = _of(measuring, best)
    gaps = corrected([_gap(f"{best} minus {other}", ours, _of(measuring, other)) for other in others])
    gain = None if best == compared else _gap("", ours, _of(measuring, compared))
    tied = sum(gap.verdict != SUPPORTS for gap in gaps)
    return Setting(*best, _mean(ours), gain and corrected([gain])[0], tied, len(others))


def _ranked(rows: pd.DataFrame, results: Results) -> list[tuple[str, str]]:
    """Each source and number of blocks, the highest mean first; of equals the source that params.yaml names first."""
    means = rows.groupby(["source", "blocks"])["test_accuracy"].mean()
    order = sorted(means.index, key=lambda key: (-means[key], list(results.cards).index(key[0]), block_order(key[1])))
    return [(str(source), str(blocks)) for source, blocks in order]


def _of(rows: pd.DataFrame, setting: tuple[str, str]) -> pd.DataFrame:
    return at(rows, source=setting[0], blocks=setting[1])


def _mean(rows: pd.DataFrame) -> tuple[float, float, float]:
    return statistics.interval(rows["test_accuracy"].to_numpy(), rows["source_model"].to_numpy(), statistics.ACCURACY)


def _gap(comparison: str, ours: pd.DataFrame, theirs: pd.DataFrame) -> Evidence:
    return over_seeds(comparison, statistics.paired(ours, theirs, ["seed"]))


def ranking(results: Results) -> pd.DataFrame:
    """The order in which the choosing half of the subsets, or the only subset, puts sources and numbers of blocks at the compared size:
    target, source, blocks."""
    rows = []
    for target in results.targets:
        of_size = at(results.last, target=target, size=results.size)
        choosing, _ = halves(of_size)
        rows += [(target, *setting) for setting in _ranked(of_size if choosing.empty else choosing, results)]
    return pd.DataFrame(rows, columns=["target", "source", "blocks"])


def halves(rows: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Every second subset of each source model, which choose, and the others, which measure; of an odd number one more measures.

    Where each source model has one subset, every second model chooses. Where fewer than MIN_N would measure, fewer choose, from two on:
    of 8 subsets 3, as an answer from 4 would have no interval.
    """
    models = rows.groupby("seed")["source_model"].max().sort_index()  # of a source with several; the same subsets go to each source
    places = np.arange(len(models)) if models.is_unique else models.groupby(models).cumcount().to_numpy()
    chosen, most = models.index[places % 2 == 1], len(models) - MIN_N
    if NEEDED - MIN_N <= most < len(chosen):
        chosen = chosen[:most]
    is_chosen = rows["seed"].isin(chosen)
    return rows[is_chosen], rows[~is_chosen]


def better_of_natural_and_robust(results: Results, answer: Answer) -> str | None:
    """`natural` or `robust`, where the target's best source is of that kind and certainly better than natural, or than every robust one."""
    against = answer.differences
    robust = [against[name].verdict for name in results.robust if name in against]
    if answer.best in results.robust and results.natural in against and against[results.natural].verdict == SUPPORTS:
        return "robust"
    if answer.best == results.natural and robust and set(robust) == {SUPPORTS}:
        return "natural"
    return None
