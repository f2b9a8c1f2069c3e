"""What a measured difference is evidence of, and the claims of papers that it is evidence for.

A difference whose 95 % interval lies on the side of zero that a claim predicts `supports` it, on the other side `contradicts` it,
and otherwise leaves it `open`.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from stages.lib.report import statistics

ABSENT = "not in this configuration"
MIN_SEEDS = 5  # with fewer, all seeds agree by chance in more than 1 of 16 cases: no verdict from those
VERDICTS = ("supports", "contradicts", "open")


@dataclass(frozen=True)
class Evidence:
    """One measured difference in percentage points; mean None where the configuration lacks what it takes."""

    comparison: str
    mean: float | None = None
    low: float = np.nan
    high: float = np.nan
    n: int = 0
    of: str = "paired subsets"  # what n counts
    verdict: str = "open"
    note: str = ""


@dataclass(frozen=True)
class Claim:
    """A sentence of a paper, how it is measured here, and what these results say about it."""

    statement: str
    place: str  # in the paper
    method: str
    evidence: list[Evidence]
    published: str  # what its authors measured, on their data and networks


def judge(low: float, high: float, expected: int = 1) -> str:
    """`supports` where the interval lies on the side of zero that `expected` (+1 or -1) names, `contradicts` on the other."""
    if low > 0 or high < 0:
        return "supports" if (low > 0) == (expected > 0) else "contradicts"
    return "open"


def over_seeds(comparison: str, differences: np.ndarray, resamples: int, expected: int = 1, note: str = "") -> Evidence:
    """Evidence from one difference per subset.

    Args:
        differences: [n], in percentage points.
        resamples: of the bootstrap.
        expected: sign that the claim predicts; 0: none.
    """
    n = len(differences)
    if not n:
        return Evidence(comparison, note=ABSENT)
    mean, low, high = statistics.interval(differences, resamples)
    if n < MIN_SEEDS:
        return Evidence(comparison, mean, low, high, n, note=f"{n} subsets, no verdict from fewer than {MIN_SEEDS}")
    verdict = judge(low, high, expected) if expected else "open"
    return Evidence(
        comparison, mean, low, high, n, verdict=verdict, note=note or ("" if verdict != "open" else "the interval includes zero")
    )


def over_images(
    comparison: str, percents: Sequence[float], counts: Sequence[int | None], signs: Sequence[int], *, expected: int = 1,
    note: str = "one model each: interval over test images, not over seeds", constant: float = 0.0,
) -> Evidence:  # fmt: skip
    """Evidence from accuracies on test images: no interval over seeds, but the binomial one, where the number of images is known.

    Args:
        percents, counts, signs: as `statistics.contrast` takes them.
        note: what the interval is over.
        constant: percentage points that are added to the signed sum, such as minus the accuracy of guessing.
    """
    if None in counts:
        mean = float(np.dot(percents, signs)) + constant
        return Evidence(comparison, mean, n=1, of="model each", note="no interval: number of test images unknown")
    mean, low, high = (value + constant for value in statistics.contrast(percents, counts, signs))
    verdict = judge(low, high, expected)
    return Evidence(
        comparison, mean, low, high, min(counts), "test images", verdict, note + ("" if verdict != "open" else "; it includes zero")
    )


def verdicts(claims: Iterable[Claim]) -> dict[str, int]:
    """How many pieces of evidence support, contradict, or leave open."""
    given = [evidence.verdict for claim in claims for evidence in claim.evidence if evidence.mean is not None]
    return {verdict: given.count(verdict) for verdict in VERDICTS}


def table(claims: Iterable[Claim]) -> pd.DataFrame:
    """One row per piece of evidence, for reports/tables/claims.csv; claims are counted from 1."""
    return pd.DataFrame(
        {"claim": number, "statement": claim.statement, "place": claim.place, "comparison": e.comparison, "difference": e.mean,
         "low": e.low, "high": e.high, "n": e.n, "n_of": e.of, "verdict": e.verdict, "note": e.note, "published": claim.published}
        for number, claim in enumerate(claims, 1) for e in claim.evidence
    )  # fmt: skip
