"""Evidence for the claims of Section 4 of Utrera et al. (2021): what transfers better, when, and to which targets.

The robust source is the study's exemplar, which params.yaml names before anything is measured: the best of several, chosen on
the same runs, would look better than it is.
"""

from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import pandas as pd

from stages.lib.report import statistics
from stages.lib.report.study import ABSENT, MIN_SEEDS, Evidence, Study, at, block_order, block_text, images, over_seeds
from stages.studies.utrera2021.numbers import eps_pairs, norm_pairs

EARLY = (11, 21)  # epochs after which the paper compares


def exemplar_gaps(study: Study, rows: pd.DataFrame | None = None, **where: Any) -> pd.DataFrame:
    """The exemplar minus natural at the study's blocks, of the last epoch or of `rows`, a row per subset."""
    chosen = at(study.last if rows is None else rows, blocks=study.blocks, **where)
    return statistics.minus(chosen, [study.exemplar], study.natural, extra=["epoch"])


def few_images(study: Study) -> Iterator[Evidence]:
    yield from _at_size(study, dict.fromkeys(study.targets, study.sizes[0]))


def many_images(study: Study) -> Iterator[Evidence]:
    most = {target: _most(study, target) for target in study.targets}
    yield from _at_size(study, {target: size if size != study.sizes[0] else None for target, size in most.items()})


def _at_size(study: Study, sizes: dict[str, str | None]) -> Iterator[Evidence]:
    for target, size in sizes.items():
        what = f"{target}{f', {images(size)}' if size else ''}: {robust(study)} minus natural"
        yield over_seeds(study, what, exemplar_gaps(study, target=target, size=size)["difference"].to_numpy())


def _most(study: Study, target: str) -> str:
    """The largest size with enough subsets for a verdict; the largest where none has them."""
    n = exemplar_gaps(study, target=target)["size"].value_counts()
    enough = [size for size in study.sizes if n.get(size, 0) >= MIN_SEEDS]
    return (enough or [size for size in study.sizes if size in n] or study.sizes)[-1]


def shrinks(study: Study) -> Iterator[Evidence]:
    for target in study.targets:
        few, many = study.sizes[0], _most(study, target)
        what = f"{target}: {robust(study)} minus natural, {_number(few)} minus {images(many)}"
        gaps = exemplar_gaps(study, target=target)
        start, end = at(gaps, size=few), at(gaps, size=many)
        if few == many or start.empty:
            yield Evidence(what, note=ABSENT)
            continue
        change = statistics.paired(start, end, ["seed"], "difference")["difference"].to_numpy()
        if statistics.interval(start["difference"].to_numpy(), study.resamples)[1] > 0:
            yield over_seeds(study, what, change)
        else:
            yield over_seeds(study, what, change, expected=0, note="no advantage here that could shrink")


def faster(study: Study) -> Iterator[Evidence]:
    size, early = early_epochs(study)
    for target in study.targets:
        for epoch in early:
            gaps = exemplar_gaps(study, study.runs, target=target, size=size, epoch=epoch)["difference"].to_numpy()
            yield over_seeds(study, f"{target}, {images(size)}, epoch {epoch}: {robust(study)} minus natural", gaps)
        if not early:
            yield Evidence(f"{target}, {images(size)}: an epoch before the last", note=ABSENT)


def early_epochs(study: Study) -> tuple[str, list[int]]:
    """A size of `report.epochs_at` that is tested after the paper's epochs, else the study's; and its early epochs."""
    evaluated = {s: sorted(int(e) for e in at(study.runs, size=s)["epoch"].unique())[:-1] for s in [*study.epochs_at, study.size]}
    size = next((s for s in study.epochs_at if set(EARLY) <= set(evaluated[s])), study.size)
    return size, [e for e in EARLY if e in evaluated[size]] or evaluated[size][:2]


def blocks(study: Study) -> Iterator[Evidence]:
    for source in [name for name in (study.exemplar, study.natural) if name]:
        for target in study.targets:
            ours = at(study.last, target=target, size=study.size, source=source)
            numbers = sorted(ours["blocks"].unique(), key=block_order)
            if len(numbers) < 2:
                yield Evidence(f"{target}, {study.labels[source]}: numbers of blocks", note=f"{ABSENT}: one number of blocks")
            for fewer, more in pairwise(numbers):
                gain = _gain(ours, more, fewer)["difference"].to_numpy()
                expected = _predicted(block_order(fewer), block_order(more))
                note = "" if expected else "the claim predicts no sign between these two"
                what = f"{target}, {images(study.size)}, {study.labels[source]}: {block_text(more)} minus {block_text(fewer)}"
                yield over_seeds(study, what, gain, expected, note)


def _gain(rows: pd.DataFrame, more: str, fewer: str) -> pd.DataFrame:
    return statistics.paired(at(rows, blocks=more), at(rows, blocks=fewer), ["target", "n_images", "seed"])


def _predicted(fewer: int, more: int) -> int:
    """Sign of the gain from `fewer` to `more` blocks if the optimum lies within 1 to 3; 0 where that says nothing."""
    if more <= 3:
        return 1 if fewer < 1 else 0
    return -1 if fewer >= 1 else 0


def norms(study: Study) -> Iterator[Evidence]:
    pairs = norm_pairs(study)
    if not pairs:
        yield Evidence("L2 minus L∞", note=ABSENT)
    for target in study.targets:
        rows = at(study.last, target=target, size=study.size, blocks=study.blocks)
        for l2, other in pairs:
            gaps = statistics.minus(rows, [l2], other)["difference"].to_numpy()
            yield over_seeds(study, f"{target}, {images(study.size)}: {study.labels[l2]} minus {study.labels[other]}", gaps)


def similar_blocks(study: Study) -> Iterator[Evidence]:
    pair = study.block_pair
    if not pair:
        yield Evidence("a second number of blocks", note=ABSENT)
        return
    gains = _gain(at(study.last, size=study.size, source=study.exemplar), *pair)
    what = f"{robust(study)}, {images(study.size)}, {block_text(pair[0])} minus {block_text(pair[1])}"
    yield _contrast(study, what, gains, study.similar, _others(study), expected=-1)


def similar_eps(study: Study) -> Iterator[Evidence]:
    rows = at(study.last, size=study.size, blocks=study.blocks)
    pairs = eps_pairs(study)
    if not pairs:
        yield Evidence("two radii of a norm", note=ABSENT)
    for smaller, larger in pairs:
        gaps = statistics.minus(rows, [smaller], larger)
        what = f"{images(study.size)}: {study.labels[smaller]} minus {study.labels[larger]}"
        for target in study.similar:
            yield over_seeds(study, f"{target}, {what}", at(gaps, target=target)["difference"].to_numpy())
        yield _contrast(study, what, gaps, study.similar, _others(study))


def distinct(study: Study) -> Iterator[Evidence]:
    few, (size, early) = study.sizes[0], early_epochs(study)
    what = f"{robust(study)} minus natural"
    yield _contrast(study, f"{images(few)}: {what}", exemplar_gaps(study, size=few), _others(study), study.similar)
    for epoch in early[:1]:
        gaps = exemplar_gaps(study, study.runs, size=size, epoch=epoch)
        yield _contrast(study, f"{images(size)}, epoch {epoch}: {what}", gaps, _others(study), study.similar)


def _others(study: Study) -> list[str]:
    return [target for target in study.targets if target not in study.similar]


def _contrast(study: Study, what: str, gains: pd.DataFrame, left: list[str], right: list[str], expected: int = 1) -> Evidence:
    """Mean over the targets `left` minus mean over the targets `right` of what was gained on them, seed by seed.

    Subsets of different targets are independent, so that joining them by seed leaves the variance of the difference as it is.
    """
    if not left or not right:
        return Evidence(what, note=f"{ABSENT}: report.similar names {'every' if study.similar else 'no'} target")
    what = f"{_list(left)} minus {_list(right)}, {what}"
    by_seed = gains.pivot_table(index="seed", columns="target", values="difference").reindex(columns=study.targets).dropna()
    gap = by_seed[left].mean(axis=1) - by_seed[right].mean(axis=1)
    return over_seeds(study, what, gap.to_numpy(), expected)


def robust(study: Study) -> str:
    return study.labels[study.exemplar] if study.exemplar else "robust"


def _number(size: str) -> str:
    return size if size == "all" else f"{int(size):,}"


def _list(names: list[str]) -> str:
    return " and ".join(names) if len(names) < 3 else f"{', '.join(names[:-1])} and {names[-1]}"
