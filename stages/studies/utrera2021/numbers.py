"""The numbers behind the paper's figures: each function says from a study's runs what one figure of Utrera et al. (2021) shows.

A difference is paired by subset. Tables in, tables out; `paper_figures` draws them, and reports/tables/ keeps them.
"""

from dataclasses import dataclass, field
from itertools import pairwise

import pandas as pd

from stages.lib.norms.table import NORMS
from stages.lib.report import statistics
from stages.lib.report.study import Study, at, block_text, images, size_order

SIZE = ["target", "n_images", "size"]
COLUMNS = ["panel", "series", *SIZE, "n", "mean", "low", "high"]


@dataclass(frozen=True)
class Numbers:
    """What a figure shows, a row per point: panel (a, b, ...), series, target, n_images, size, maybe epoch, n, mean, low, high."""

    title: str
    table: pd.DataFrame  # empty where nothing of it is configured
    missing: list[str] = field(default_factory=list)  # what of the figure this configuration lacks

    @property
    def n(self) -> str:
        return subsets(self.table)


def all_figures(study: Study, published: pd.DataFrame) -> dict[str, Numbers]:
    """By the name of their files; `published` is the published line of Figure 2b: target, n_images, size, mean."""
    found = {"figure2": figure2(study, published), "figure3_10": figure3_10(study), "figure4": figure4(study, study.exemplar, "Figure 4")}
    for name in [study.natural, *study.robust]:
        if name != study.exemplar:
            found[f"figure11_{name}"] = figure4(study, name, "Figure 11")
    return found | {"figure5": figure5(study), "figure8": figure8(study)}


def figure2(study: Study, published: pd.DataFrame) -> Numbers:
    """(a) The exemplar's and natural's accuracy against the number of images, (b) their difference."""
    title = f"Figure 2: {_called(study, study.exemplar)} and natural, {block_text(study.blocks)} fine-tuned"
    rows = at(study.last, blocks=study.blocks)
    table = _exemplar_and_natural(study, rows, SIZE)
    line = published.assign(panel="b", series="published")
    return Numbers(title, _join(table, line) if len(table) else table, _without_robust(study))


def figure3_10(study: Study) -> Numbers:
    """The same against the epoch, at each of `report.epochs_at`."""
    sizes = [size for size in study.epochs_at if size in study.sizes]
    rows = at(study.runs, blocks=study.blocks)
    table = _exemplar_and_natural(study, rows[rows["size"].isin(sizes)], [*SIZE, "epoch"])
    table = table.sort_values("size", key=lambda c: c.map(size_order), kind="stable", ignore_index=True)
    missing = [images(size) for size in study.epochs_at if size not in sizes]
    title = f"Figures 3 and 10: accuracy by epoch, {_called(study, study.exemplar)} and natural, {block_text(study.blocks)} fine-tuned"
    return Numbers(title, table, _without_robust(study) + ([f"{', '.join(missing)} (report.epochs_at)"] if missing else []))


def figure4(study: Study, source: str | None, number: str) -> Numbers:
    """(a) A source's accuracy against the number of images for each number of blocks, (b) three blocks minus one."""
    title = f"{number}: numbers of fine-tuned blocks, {_called(study, source)}"
    rows, pair = at(study.last, source=source), study.block_pair
    if not pair or rows.empty:
        return Numbers(title, _join(), ["a second number of blocks" if len(rows) else "a robust source"])
    by_blocks = _means(study, rows, ["blocks", *SIZE])
    by_blocks = by_blocks.assign(panel="a", series=by_blocks["blocks"].map(block_text))
    more, fewer = (at(rows, blocks=b) for b in pair)
    gains = statistics.paired(more, fewer, ["target", "n_images", "seed"])
    if gains.empty:
        return Numbers(title, _join(), [" and ".join(block_text(b) for b in pair)])
    gains = _gaps(study, gains, "b", f"{block_text(pair[0])} minus {block_text(pair[1])}")
    return Numbers(title, _join(by_blocks, gains))


def figure5(study: Study) -> Numbers:
    """(a, b) Accuracy of the robust sources; (c) smaller minus larger eps of a norm; (d, e) L2 minus each Linf source."""
    title = f"Figure 5: constraints of the robust sources, {block_text(study.blocks)} fine-tuned"
    if len(study.robust) < 2:
        return Numbers(title, _join(), ["a second robust source"])
    rows = at(study.last, blocks=study.blocks)
    accuracy = _means(study, rows[rows["source"].isin(study.robust)], ["source", *SIZE])
    parts = [accuracy.assign(panel="a", series=accuracy["source"].map(study.labels))]
    radii, norms = eps_pairs(study), norm_pairs(study)
    parts += [_difference(study, rows, "c", *pair) for pair in radii]
    parts += [_difference(study, rows, "d", *pair) for pair in norms]
    missing = ([] if radii else ["two radii of a norm"]) + ([] if norms else ["an L2 and an L∞ source"])
    return Numbers(title, _join(*parts), missing)


def figure8(study: Study) -> Numbers:
    """(a) PGD(k), (b) PGD(1) and (c) Gaussian minus natural."""
    title = f"Figure 8: kinds of perturbation while the source was trained, {block_text(study.blocks)} fine-tuned"
    many, one, noise = many_steps(study), study.of_family("pgd1"), study.of_family("gaussian")
    kinds = {"a robust source": many, "a PGD(1) source": one, "a Gaussian source": noise}
    missing = [kind for kind, found in kinds.items() if not found]
    if not (one or noise):
        return Numbers(title, _join(), missing)
    rows = at(study.last, blocks=study.blocks)
    shown = [*((("a", many),) if many else ()), *(("b", name) for name in one), *(("c", name) for name in noise)]
    return Numbers(title, _join(*(_difference(study, rows, panel, name, study.natural) for panel, name in shown)), missing)


def eps_pairs(study: Study) -> list[tuple[str, str]]:
    """Robust sources of one norm with neighbouring radii, the smaller first."""
    by_norm = [sorted(study.of_family(norm), key=study.eps) for norm in NORMS]
    return [pair for names in by_norm for pair in pairwise(names) if study.eps(pair[0]) < study.eps(pair[1])]


def norm_pairs(study: Study) -> list[tuple[str, str]]:
    """The L2 source, which is the exemplar where that is one and else that of the largest eps, with each Linf source."""
    l2 = study.of_family("l2")
    if not l2:
        return []
    ours = study.exemplar if study.exemplar in l2 else max(l2, key=study.eps)
    return [(ours, other) for other in study.of_family("linf")]


def many_steps(study: Study) -> str | None:
    """The robust source with the ball of the PGD(1) or Gaussian one, so that they differ in the perturbation alone; or the exemplar."""
    balls = [(study.norm(s), study.eps(s)) for family in ("pgd1", "gaussian") for s in study.of_family(family)]
    same = [name for name in study.robust if (study.norm(name), study.eps(name)) in balls]
    return study.exemplar if study.exemplar in same or not same else same[0]


def subsets(table: pd.DataFrame) -> str:
    """How many subsets are behind the points of a figure: `n = 20`, or `n = 20 down to 1`."""
    n = table["n"].dropna().astype(int)
    if n.empty:
        return "n = 0"
    return f"n = {n.max()}" if n.min() == n.max() else f"n = {n.max()} down to {n.min()}"


def _exemplar_and_natural(study: Study, rows: pd.DataFrame, by: list[str]) -> pd.DataFrame:
    ours, natural = at(rows, source=study.exemplar), at(rows, source=study.natural)
    if ours.empty:
        return _join()
    on = [column for column in ("target", "n_images", "seed", "epoch") if column in by or column == "seed"]
    parts = [_means(study, part, by).assign(panel="a", series=name) for part, name in ((ours, "robust"), (natural, "natural"))]
    gaps = statistics.paired(ours, natural, on)
    return _join(*parts, statistics.summarise(gaps, by, "difference", study.resamples).assign(panel="b", series="robust minus natural"))


def _difference(study: Study, rows: pd.DataFrame, panel: str, left: str, right: str) -> pd.DataFrame:
    steps = study.perturbation(left) if panel == "a" and left in study.robust else None
    label = f"{steps}, {study.labels[left]}" if steps else study.labels[left]
    return _gaps(study, statistics.minus(rows, [left], right), panel, f"{label} minus {study.labels[right]}")


def _means(study: Study, rows: pd.DataFrame, by: list[str]) -> pd.DataFrame:
    return statistics.summarise(rows, by, "test_accuracy", study.resamples)


def _gaps(study: Study, gaps: pd.DataFrame, panel: str, series: str) -> pd.DataFrame:
    return statistics.summarise(gaps, SIZE, "difference", study.resamples).assign(panel=panel, series=series)


def _join(*parts: pd.DataFrame) -> pd.DataFrame:
    """The parts that have rows one below the other, with the columns of every figure first."""
    filled = [part for part in parts if len(part)]
    if not filled:
        return pd.DataFrame(columns=COLUMNS)
    table = pd.concat(filled, ignore_index=True).astype({"n": "Int64"})
    first = [column for column in COLUMNS if column in table]
    extra = [column for column in ("epoch",) if column in table]
    return table[[*first[:5], *extra, *first[5:]]]


def _called(study: Study, source: str | None) -> str:
    return study.labels[source] if source else "a robust source"


def _without_robust(study: Study) -> list[str]:
    return [] if study.exemplar else ["a robust source"]
