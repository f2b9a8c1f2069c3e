"""What a measured difference is evidence of, and the claims of papers that it is evidence for.

A comparison `supports` a claim where its difference has the predicted sign and `contradicts` it where it has the other one; both only
if chance makes such a difference in fewer than 5 of 100 cases, with the correction of Holm (1979) over all comparisons of the claim.
Otherwise it is `undecided`. What the configuration lacks was `not run`.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from stages.lib.report import statistics
from stages.lib.report.statistics import MIN_MODELS, MIN_N

ABSENT = "not in this configuration"
SUPPORTS, CONTRADICTS, MIXED, UNDECIDED, NOT_RUN = VERDICTS = ("supports", "contradicts", "mixed", "undecided", "not run")
FALSE = 1 - statistics.LEVEL  # the chance of a false verdict on a claim, at most


@dataclass(frozen=True)
class Evidence:
    """One measured difference in percentage points; mean None where the configuration lacks what it takes."""

    comparison: str
    mean: float | None = None
    low: float = np.nan
    high: float = np.nan
    n: int = 0
    of: str = "paired subsets"  # what n counts
    expected: int = 1  # the sign that the claim predicts; 0: none, and no verdict
    p: float = np.nan  # of a difference so far from zero by chance; NaN: no verdict
    adjusted: float = np.nan  # p with the correction over the comparisons of the claim
    note: str = ""

    @property
    def verdict(self) -> str:
        if self.mean is None:
            return NOT_RUN
        if not self.adjusted <= FALSE or not self.expected:
            return UNDECIDED
        return SUPPORTS if (self.mean > 0) == (self.expected > 0) else CONTRADICTS


@dataclass(frozen=True)
class Claim:
    """A sentence of a paper, how it is measured here, and what these results say about it."""

    statement: str
    place: str  # in the paper
    method: str
    evidence: list[Evidence]
    published: str  # what its authors measured, on their data and networks

    def __post_init__(self) -> None:
        object.__setattr__(self, "evidence", corrected(self.evidence))

    @property
    def verdict(self) -> str:
        """That of its comparisons: `mixed` where some support it and others contradict it."""
        found = {evidence.verdict for evidence in self.evidence}
        if {SUPPORTS, CONTRADICTS} <= found:
            return MIXED
        return next((verdict for verdict in (SUPPORTS, CONTRADICTS, UNDECIDED) if verdict in found), NOT_RUN)


def corrected(evidence: Sequence[Evidence]) -> list[Evidence]:
    """The comparisons of a claim with the correction over all of them that can have a verdict."""
    p_values = [e.p if e.expected else np.nan for e in evidence]
    k = int(np.isfinite(p_values).sum())
    return [
        replace(e, adjusted=adjusted, note=e.note or _why(e, adjusted, k))
        for e, adjusted in zip(evidence, statistics.holm(p_values), strict=True)
    ]


def _why(evidence: Evidence, adjusted: float, k: int) -> str:
    """Why a comparison that has an interval has no verdict."""
    if np.isnan(adjusted) or adjusted <= FALSE:
        return ""
    return "the interval includes zero" if evidence.p > FALSE else f"not far enough from zero for one of {k} comparisons"


def over_seeds(
    comparison: str, differences: pd.DataFrame, expected: int = 1, note: str = "", counted: str = "paired subsets"
) -> Evidence:  # fmt: skip
    """Evidence from one difference per subset.

    Args:
        differences: a row for each subset, with columns `difference`, in percentage points, and `source_model`, the source model; and
            maybe `diverged`, whether one of the two runs has diverged.
        expected: sign that the claim predicts; 0: none.
        counted: what the differences are called.
    """
    found = _over(comparison, differences["difference"].to_numpy(), differences["source_model"].to_numpy(), counted, expected, note)
    diverged = int(differences["diverged"].sum()) if "diverged" in differences else 0
    return replace(found, of=f"{found.of}, {diverged} with a run that diverged") if diverged else found


def surely_best(runs: pd.DataFrame) -> str | None:
    """The source that is better than each of the others on the same subsets, corrected over them; None where one is not told from it.

    Args:
        runs: of one target, number of blocks and of images: source, seed, test_accuracy, source_model.
    """
    means = runs.groupby("source", sort=False)["test_accuracy"].mean()
    if len(means) < 2:
        return None
    best = str(means.idxmax())
    pairs = [
        statistics.paired(runs[runs["source"] == best], runs[runs["source"] == other], ["seed"]) for other in means.index if other != best
    ]
    return best if all(e.verdict == SUPPORTS for e in corrected([over_seeds("", pair) for pair in pairs])) else None


def over_models(comparison: str, differences: Sequence[float], expected: int = 1) -> Evidence:
    """Evidence about the sources themselves: one difference for each pair of source models, in percentage points."""
    return _over(comparison, np.array(differences), np.arange(len(differences)), "source models", expected)


def _over(comparison: str, values: np.ndarray, models: np.ndarray, of: str, expected: int, note: str = "") -> Evidence:
    """Evidence from differences and the source model of each; `of` says what they are counted as."""
    n, n_models = len(values), len(set(models))
    if not n:
        return Evidence(comparison, note=ABSENT)
    mean, low, high = statistics.interval(values, models, statistics.DIFFERENCE)
    if np.isnan(low):
        few_models = f"{n_models} source models, no verdict from fewer than {MIN_MODELS}"
        note = few_models if n_models > 1 else f"{n} {of.removeprefix('paired ')}, no verdict from fewer than {MIN_N}"
    of = of if n_models in (1, n) else f"{of} of {n_models} source models"
    return Evidence(comparison, mean, low, high, n, of, expected, statistics.p_value(values, models), note=note)


def over_images(
    comparison: str, percents: Sequence[float], counts: Sequence[int | None], signs: Sequence[int], *, expected: int = 1,
    note: str = "", constant: float = 0.0, correlation: float = 0.0,
) -> Evidence:  # fmt: skip
    """Evidence from accuracies on test images: no interval over seeds, but the binomial one, where the number of images is known.

    Args:
        percents, counts, signs, correlation: as `statistics.contrast` takes them.
        expected: sign that the claim predicts; 0: no verdict.
        note: what the interval is over.
        constant: percentage points that are added to the signed sum, such as minus the accuracy of guessing.
    """
    if None in counts:
        mean = float(np.dot(percents, signs)) + constant
        return Evidence(comparison, mean, n=1, of="model each", expected=expected, note="no interval: number of test images unknown")
    mean, low, high = (value + constant for value in statistics.contrast(percents, counts, signs, correlation=correlation))
    p = statistics.contrast_p_value(percents, counts, signs, constant, correlation)
    return Evidence(comparison, mean, low, high, min(counts), "test images", expected, p, note=note)


def verdicts(claims: Iterable[Claim]) -> dict[str, int]:
    """How many claims have each verdict."""
    given = [claim.verdict for claim in claims]
    return {verdict: given.count(verdict) for verdict in VERDICTS}


def false_verdicts(claims: Iterable[Claim]) -> float:
    """How many claims would have a false verdict, at most and on average, if none of the differences existed."""
    return FALSE * sum(any(np.isfinite(e.adjusted) for e in claim.evidence) for claim in claims)


def table(claims: Iterable[Claim]) -> pd.DataFrame:
    """One row per comparison, for reports/tables/claims.csv; claims are counted from 1."""
    return pd.DataFrame(
        {"claim": number, "statement": claim.statement, "place": claim.place, "comparison": e.comparison, "difference": e.mean,
         "low": e.low, "high": e.high, "n": e.n, "n_of": e.of, "p": e.p, "p_holm": e.adjusted, "verdict": e.verdict,
         "verdict_of_claim": claim.verdict, "note": e.note, "published": claim.published}
        for number, claim in enumerate(claims, 1) for e in claim.evidence
    )  # fmt: skip
