"""Evidence for the claims of Section 4 of Utrera et al. (2021): what transfers better, when, and to which targets.

The robust source is the study's exemplar, which params.yaml names before anything is measured: the best of several, chosen on
the same runs, would look better than it is.
"""

from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import pandas as pd

from stages.lib.report import statistics
from stages.lib.report.evidence import ABSENT, Evidence, over_seeds
from stages.lib.report.results import at
from stages.lib.report.statistics import MIN_N
from stages.lib.report.wording import block_order, block_text, images, is_count, listed
from stages.studies.utrera2021.results import UtreraResults

EARLY = (11, 21)  # epochs after which the paper compares


def exemplar_gaps(results: UtreraResults, rows: pd.DataFrame | None = None, **where: Any) -> pd.DataFrame:
    """The exemplar minus natural at the study's blocks, of the last epoch or of `rows`, a row per subset."""
    chosen = at(results.last if rows is None else rows, blocks=results.blocks, **where)
    return statistics.minus(chosen, [results.exemplar], results.natural, extra=["epoch"])


def few_images(results: UtreraResults) -> Iterator[Evidence]:
    yield from _at_size(results, dict.fromkeys(results.targets, results.sizes[0]))


def many_images(results: UtreraResults) -> Iterator[Evidence]:
    most = {target: _most(results, target) for target in results.targets}
    yield from _at_size(results, {target: size if size != results.sizes[0] else None for target, size in most.items()})


def _at_size(results: UtreraResults, sizes: dict[str, str | None]) -> Iterator[Evidence]:
    for target, size in sizes.items():
        comparison = f"{target}{f', {images(size)}' if size else ''}: {results.robust_label} minus natural"
        yield over_seeds(comparison, exemplar_gaps(results, target=target, size=size))


def _most(results: UtreraResults, target: str) -> str:
    """The largest size with enough subsets for a verdict; the largest where none has them."""
    n = exemplar_gaps(results, target=target)["size"].value_counts()
    enough = [size for size in results.sizes if n.get(size, 0) >= MIN_N]
    return (enough or [size for size in results.sizes if size in n] or results.sizes)[-1]


def shrinks(results: UtreraResults) -> Iterator[Evidence]:
    for target in results.targets:
        few, many = results.sizes[0], _most(results, target)
        comparison = f"{target}: {results.robust_label} minus natural, {_number(few)} minus {images(many)}"
        gaps = exemplar_gaps(results, target=target)
        start, end = at(gaps, size=few), at(gaps, size=many)
        if few == many or start.empty:
            yield Evidence(comparison, note=ABSENT)
            continue
        change = statistics.paired(start, end, ["seed"], "difference")
        if statistics.interval(start["difference"].to_numpy(), start["source_model"].to_numpy())[1] > 0:
            yield over_seeds(comparison, change)
        else:
            yield over_seeds(comparison, change, expected=0, note="no advantage here that could shrink")


def faster(results: UtreraResults) -> Iterator[Evidence]:
    size, early = early_epochs(results)
    for target in results.targets:
        for epoch in early:
            gaps = exemplar_gaps(results, results.runs, target=target, size=size, epoch=epoch)
            yield over_seeds(f"{target}, {images(size)}, epoch {epoch}: {results.robust_label} minus natural", gaps)
        if not early:
            yield Evidence(f"{target}, {images(size)}: an epoch before the last", note=ABSENT)


def early_epochs(results: UtreraResults) -> tuple[str, list[int]]:
    """A size of `report.utrera2021.epochs_at` that is tested after the paper's epochs, else the study's; and its early epochs."""
    evaluated = {s: sorted(int(e) for e in at(results.runs, size=s)["epoch"].unique())[:-1] for s in [*results.epochs_at, results.size]}
    size = next((s for s in results.epochs_at if set(EARLY) <= set(evaluated[s])), results.size)
    return size, [e for e in EARLY if e in evaluated[size]] or evaluated[size][:2]


def blocks(results: UtreraResults) -> Iterator[Evidence]:
    for source in [name for name in (results.exemplar, results.natural) if name]:
        for target in results.targets:
            ours = at(results.last, target=target, size=results.size, source=source)
            numbers = sorted(filter(is_count, ours["blocks"].unique()), key=block_order)
            if len(numbers) < 2:
                yield Evidence(f"{target}, {results.labels[source]}: numbers of blocks", note=f"{ABSENT}: one number of blocks")
            for fewer, more in pairwise(numbers):
                gain = _gain(ours, more, fewer)
                expected = _predicted(block_order(fewer), block_order(more))
                note = "" if expected else "the claim predicts no sign between these two"
                comparison = f"{target}, {images(results.size)}, {results.labels[source]}: {block_text(more)} minus {block_text(fewer)}"
                yield over_seeds(comparison, gain, expected, note)


def _gain(rows: pd.DataFrame, more: str, fewer: str) -> pd.DataFrame:
    return statistics.paired(at(rows, blocks=more), at(rows, blocks=fewer), ["target", "n_images", "seed"])


def _predicted(fewer: int, more: int) -> int:
    """Sign of the gain from `fewer` to `more` blocks if the optimum lies within 1 to 3; 0 where that says nothing."""
    if more <= 3:
        return 1 if fewer < 1 else 0
    return -1 if fewer >= 1 else 0


def norms(results: UtreraResults) -> Iterator[Evidence]:
    pairs = results.norm_pairs
    if not pairs:
        yield Evidence("L2 minus L∞", note=ABSENT)
    for target in results.targets:
        rows = at(results.last, target=target, size=results.size, blocks=results.blocks)
        for l2, other in pairs:
            gaps = statistics.minus(rows, [l2], other)
            yield over_seeds(f"{target}, {images(results.size)}: {results.labels[l2]} minus {results.labels[other]}", gaps)


def similar_blocks(results: UtreraResults) -> Iterator[Evidence]:
    pair = results.block_pair
    if not pair:
        yield Evidence("a second number of blocks", note=ABSENT)
        return
    gains = _gain(at(results.last, size=results.size, source=results.exemplar), *pair)
    comparison = f"{results.robust_label}, {images(results.size)}, {block_text(pair[0])} minus {block_text(pair[1])}"
    yield _contrast(results, comparison, gains, results.similar, _others(results), expected=-1)


def similar_eps(results: UtreraResults) -> Iterator[Evidence]:
    rows = at(results.last, size=results.size, blocks=results.blocks)
    pairs = results.eps_pairs
    if not pairs:
        yield Evidence("two radii of a norm", note=ABSENT)
    for smaller, larger in pairs:
        gaps = statistics.minus(rows, [smaller], larger)
        comparison = f"{images(results.size)}: {results.labels[smaller]} minus {results.labels[larger]}"
        for target in results.similar:
            yield over_seeds(f"{target}, {comparison}", at(gaps, target=target))
        yield _contrast(results, comparison, gaps, results.similar, _others(results))


def distinct(results: UtreraResults) -> Iterator[Evidence]:
    few, (size, early) = results.sizes[0], early_epochs(results)
    comparison = f"{results.robust_label} minus natural"
    yield _contrast(results, f"{images(few)}: {comparison}", exemplar_gaps(results, size=few), _others(results), results.similar)
    for epoch in early[:1]:
        gaps = exemplar_gaps(results, results.runs, size=size, epoch=epoch)
        yield _contrast(results, f"{images(size)}, epoch {epoch}: {comparison}", gaps, _others(results), results.similar)


def _others(results: UtreraResults) -> list[str]:
    return [target for target in results.targets if target not in results.similar]


def _contrast(
    results: UtreraResults, comparison: str, gains: pd.DataFrame, left: list[str], right: list[str], expected: int = 1
) -> Evidence:
    """Mean over the targets `left` minus mean over the targets `right` of what was gained on them, seed by seed.

    Subsets of different targets are independent, so that joining them by seed leaves the variance of the difference as it is.
    """
    if not left or not right:
        return Evidence(comparison, note=f"{ABSENT}: report.utrera2021.similar names {'every' if results.similar else 'no'} target")
    comparison = f"{listed(left)} minus {listed(right)}, {comparison}"
    by_seed = (
        gains.pivot_table(index=["source_model", "seed"], columns="target", values="difference").reindex(columns=results.targets).dropna()
    )
    gap = (by_seed[left].mean(axis=1) - by_seed[right].mean(axis=1)).rename("difference").to_frame()
    if "diverged" in gains:
        gap = gap.join(gains[gains["target"].isin([*left, *right])].groupby(["source_model", "seed"])["diverged"].any())
    return over_seeds(comparison, gap.reset_index(), expected)


def _number(size: str) -> str:
    return size if size == "all" else f"{int(size):,}"
