"""Evidence for the claims of Shafahi et al. (ICLR 2020, Section 6) about learning without forgetting.

What is fine-tuned is compared with what it began from: the source as it is where it learns its own data, else the source with a head.
Each way of learning is a comparison of its own.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from stages.lib.report.evidence import ABSENT, Evidence
from stages.lib.report.results import at
from stages.lib.report.wording import signed
from stages.studies.shafahi2020.claims_evidence import MARGIN, contrast
from stages.studies.shafahi2020.numbers import OnImages, Transfers

NOT_RUN = Evidence("learning without forgetting", note=ABSENT)


@dataclass(frozen=True)
class Sweep:
    """What one way of learning makes of a source on a target, by lambda_d, and what it began from."""

    what: str  # for a person
    swept: pd.DataFrame
    before: pd.DataFrame
    start: str  # what `before` is
    validation: np.ndarray  # places of the test images on which lambda_d is chosen; the others judge it

    def chooses(self, rows: pd.DataFrame) -> pd.DataFrame:
        """The accuracies on the images on which lambda_d is chosen; rows: as `Transfers` has them."""
        return _on(rows, self.validation)

    def judges(self, rows: pd.DataFrame) -> pd.DataFrame:
        """The accuracies on the other images."""
        return _on(rows, self.validation, invert=True)


def kept(transfers: Transfers) -> Iterator[Evidence]:
    """Accuracy under attack at the lambda_d that keeps most of it, minus that of the source, plus the margin.

    One half of the tested images chooses lambda_d, as a large one may keep the network from learning at all; the other half measures.
    """
    for sweep in _sweeps(transfers):
        best = most_robust(sweep, transfers.attack)
        comparison = f"{sweep.what}: lambda_d {best:g} minus the {sweep.start}, plus {MARGIN:g} points"
        rows, before = (sweep.judges(at(table, measure=transfers.attack)) for table in (sweep.swept, sweep.before))
        yield contrast(comparison, at(rows, setting=best), before, 1, MARGIN)


def helped(transfers: Transfers) -> Iterator[Evidence]:
    """Accuracy under attack at the larger lambda_d that keeps most of it minus that at the smallest, chosen and measured as in `kept`."""
    for sweep in _sweeps(transfers):
        least, rows = sweep.swept["setting"].min(), sweep.judges(at(sweep.swept, measure=transfers.attack))
        larger = replace(sweep, swept=sweep.swept[sweep.swept["setting"] > least])
        if larger.swept.empty:
            yield Evidence(f"{sweep.what}: two lambda_d", note=ABSENT)
            continue
        best = most_robust(larger, transfers.attack)
        comparison = f"{sweep.what}: lambda_d {best:g} minus {least:g}"
        yield contrast(comparison, at(rows, setting=best), at(rows, setting=least), 1)


def improved(transfers: Transfers) -> Iterator[Evidence]:
    """Clean accuracy at the lambda_d that one half of the tested images chooses, minus that of the source, on the other half.

    It supports the claim only where that half also says that robustness was kept within the margin: p is the larger one of both.
    """
    for sweep in _sweeps(transfers):
        best = chosen(sweep, transfers.attack)
        after, comparison = at(sweep.swept, setting=best), f"{sweep.what}: lambda_d {best:g} minus the {sweep.start}"
        clean, robust = (
            contrast(comparison, *(sweep.judges(at(rows, measure=measure)) for rows in (after, sweep.before)), 1, constant)
            for measure, constant in (("clean", 0.0), (transfers.attack, MARGIN))
        )
        yield clean if clean.mean is None else _where_kept(clean, robust)


def most_robust(sweep: Sweep, attack: str) -> float:
    """The lambda_d of the highest accuracy under attack on the validation part."""
    return float(sweep.chooses(at(sweep.swept, measure=attack)).set_index("setting")["mean"].idxmax())


def chosen(sweep: Sweep, attack: str) -> float:
    """The lambda_d of the highest clean accuracy on the validation part, of those that keep robustness there within the margin.

    Where none keeps it, the one that keeps most.
    """
    clean, robust = (sweep.chooses(at(sweep.swept, measure=name)).set_index("setting")["mean"] for name in ("clean", attack))
    lost = float(sweep.chooses(at(sweep.before, measure=attack))["mean"].iloc[0]) - robust
    return float(clean[lost <= MARGIN].idxmax()) if (lost <= MARGIN).any() else most_robust(sweep, attack)


def _on(rows: pd.DataFrame, places: np.ndarray, invert: bool = False) -> pd.DataFrame:
    """The accuracies on the images at these places, or on all others."""
    parts = []
    for images in rows["images"]:
        part = np.isin(images.places, places, invert=invert)
        parts.append(OnImages(images.places[part], images.correct[part]))
    return rows.assign(
        images=pd.Series(parts, rows.index, dtype=object), n_test=[len(images.places) for images in parts],
        mean=[100 * float(images.correct.mean()) for images in parts],
    )  # fmt: skip


def _where_kept(clean: Evidence, robust: Evidence) -> Evidence:
    """The evidence of a gain in clean accuracy, which is none for the claim where robustness was not kept.

    Args:
        robust: the change of accuracy under attack plus the margin.
    """
    said = f"under attack {signed(robust.mean - MARGIN, 1)} [{robust.low - MARGIN:.1f}, {robust.high - MARGIN:.1f}]; {clean.note}"
    if clean.mean <= 0:
        return replace(clean, note=said)
    if robust.mean <= 0:
        return replace(clean, p=1.0, note=f"no verdict, as robustness was lost: {said}")
    return replace(clean, p=max(clean.p, robust.p), note=said)


def _sweeps(transfers: Transfers) -> Iterator[Sweep]:
    for (source, target), group in transfers.learn_without_forgetting.groupby(["source", "target"], sort=False):
        as_it_is = at(group, method="source")
        before, start = (as_it_is, "source") if len(as_it_is) else (at(group, method="frozen"), "frozen source")
        for way in transfers.ways:
            what = f"{transfers.labels[source]} to {target}, {way}"
            swept = at(group, method=way)
            yield Sweep(what, swept, before, start, _validation(swept, transfers.attack))


def _validation(swept: pd.DataFrame, attack: str) -> np.ndarray:
    """Every other image that is attacked, and every other one that is not, so that one half chooses whatever is measured."""
    clean, attacked = (at(swept, measure=name)["images"].iloc[0].places for name in ("clean", attack))
    return np.concatenate([attacked[::2], np.setdiff1d(clean, attacked)[::2]])
