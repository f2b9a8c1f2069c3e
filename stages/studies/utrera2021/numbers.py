"""The numbers behind the paper's figures: each function says from a study's runs what one figure of Utrera et al. (2021) shows.

A difference is paired by subset. Tables in, tables out; `figures` draws them, and reports/tables/ keeps them.
"""

from dataclasses import dataclass, field
from itertools import pairwise

import pandas as pd

from stages.lib.norms.table import NORMS
from stages.lib.report import statistics
from stages.lib.report.results import at
from stages.lib.report.wording import block_text, count_text, images, size_order
from stages.studies.utrera2021.results import UtreraResults

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


def all_figures(results: UtreraResults, published: pd.DataFrame) -> dict[str, Numbers]:
    """The numbers of all figures of the paper, by the name of their files.

    Args:
        published: the published line of Figure 2b: target, n_images, size, mean.
    """
    by_name = {
        "figure2": figure2(results, published),
        "figure3_10": figure3_10(results),
        "figure4": figure4(results, results.exemplar, "Figure 4"),
    }
    for name in [results.natural, *results.robust]:
        if name != results.exemplar:
            by_name[f"figure11_{name}"] = figure4(results, name, "Figure 11")
    return by_name | {"figure5": figure5(results), "figure8": figure8(results)}


def figure2(results: UtreraResults, published: pd.DataFrame) -> Numbers:
    """Figure 2: (a) accuracy of the exemplar and of natural against the number of images, (b) their difference."""
    title = f"Figure 2: {_called(results, results.exemplar)} and natural, {block_text(results.blocks)} fine-tuned"
    rows = at(results.last, blocks=results.blocks)
    table = _exemplar_and_natural(results, rows, SIZE)
    line = published.assign(panel="b", series="published")
    return Numbers(title, _join(table, line) if len(table) else table, _without_robust(results))


def figure3_10(results: UtreraResults) -> Numbers:
    """Figures 3 and 10: the accuracies and the difference of Figure 2 by epoch, at each size of `report.utrera2021.epochs_at`."""
    sizes = [size for size in results.epochs_at if size in results.sizes]
    rows = at(results.runs, blocks=results.blocks)
    table = _exemplar_and_natural(results, rows[rows["size"].isin(sizes)], [*SIZE, "epoch"])
    table = table.sort_values("size", key=lambda c: c.map(size_order), kind="stable", ignore_index=True)
    missing = [images(size) for size in results.epochs_at if size not in sizes]
    title = (
        f"Figures 3 and 10: accuracy by epoch, {_called(results, results.exemplar)} and natural, {block_text(results.blocks)} fine-tuned"
    )
    return Numbers(title, table, _without_robust(results) + ([f"{', '.join(missing)} (report.utrera2021.epochs_at)"] if missing else []))


def figure4(results: UtreraResults, source: str | None, number: str) -> Numbers:
    """Figures 4 and 11: (a) accuracy of a source against the number of images for each number of blocks, (b) three blocks minus one."""
    title = f"{number}: numbers of fine-tuned blocks, {_called(results, source)}"
    rows, pair = at(results.last, source=source), results.block_pair
    if not pair or rows.empty:
        return Numbers(title, _join(), ["a second number of blocks" if len(rows) else "a robust source"])
    by_blocks = _means(results, rows, ["blocks", *SIZE])
    by_blocks = by_blocks.assign(panel="a", series=by_blocks["blocks"].map(block_text))
    more, fewer = (at(rows, blocks=b) for b in pair)
    gains = statistics.paired(more, fewer, ["target", "n_images", "seed"])
    if gains.empty:
        return Numbers(title, _join(), [" and ".join(block_text(b) for b in pair)])
    gains = _gaps(results, gains, "b", f"{block_text(pair[0])} minus {block_text(pair[1])}")
    return Numbers(title, _join(by_blocks, gains))


def figure5(results: UtreraResults) -> Numbers:
    """Figure 5: (a, b) accuracy of the robust sources; (c) smaller minus larger eps of a norm; (d, e) L2 minus each Linf source."""
    title = f"Figure 5: constraints of the robust sources, {block_text(results.blocks)} fine-tuned"
    if len(results.robust) < 2:
        return Numbers(title, _join(), ["a second robust source"])
    rows = at(results.last, blocks=results.blocks)
    accuracy = _means(results, rows[rows["source"].isin(results.robust)], ["source", *SIZE])
    parts = [accuracy.assign(panel="a", series=accuracy["source"].map(results.labels))]
    radii, norms = eps_pairs(results), norm_pairs(results)
    parts += [_difference(results, rows, "c", *pair) for pair in radii]
    parts += [_difference(results, rows, "d", *pair) for pair in norms]
    missing = ([] if radii else ["two radii of a norm"]) + ([] if norms else ["an L2 and an L∞ source"])
    return Numbers(title, _join(*parts), missing)


def figure8(results: UtreraResults) -> Numbers:
    """Figure 8: accuracy of sources trained (a) with PGD(k), (b) with PGD(1) and (c) with Gaussian noise, minus that of natural."""
    title = f"Figure 8: kinds of perturbation while the source was trained, {block_text(results.blocks)} fine-tuned"
    many, one, noise = many_steps(results), results.of_family("pgd1"), results.of_family("gaussian")
    kinds = {"a robust source": many, "a PGD(1) source": one, "a Gaussian source": noise}
    missing = [kind for kind, names in kinds.items() if not names]
    if not (one or noise):
        return Numbers(title, _join(), missing)
    rows = at(results.last, blocks=results.blocks)
    shown = [*((("a", many),) if many else ()), *(("b", name) for name in one), *(("c", name) for name in noise)]
    return Numbers(title, _join(*(_difference(results, rows, panel, name, results.natural) for panel, name in shown)), missing)


def eps_pairs(results: UtreraResults) -> list[tuple[str, str]]:
    """Robust sources of one norm with neighbouring radii, the smaller first."""
    by_norm = [sorted(results.of_family(norm), key=results.eps) for norm in NORMS]
    return [pair for names in by_norm for pair in pairwise(names) if results.eps(pair[0]) < results.eps(pair[1])]


def norm_pairs(results: UtreraResults) -> list[tuple[str, str]]:
    """Pairs of an L2 source and each Linf source; the L2 source is the exemplar, or else the one of the largest eps."""
    l2 = results.of_family("l2")
    if not l2:
        return []
    ours = results.exemplar if results.exemplar in l2 else max(l2, key=results.eps)
    return [(ours, other) for other in results.of_family("linf")]


def many_steps(results: UtreraResults) -> str | None:
    """The robust source whose ball is that of the PGD(1) or Gaussian source, so that only the perturbation differs; else the exemplar."""
    balls = [(results.norm(s), results.eps(s)) for family in ("pgd1", "gaussian") for s in results.of_family(family)]
    same = [name for name in results.robust if (results.norm(name), results.eps(name)) in balls]
    return results.exemplar if results.exemplar in same or not same else same[0]


def subsets(table: pd.DataFrame) -> str:
    """How many subsets are behind the points of a figure: `n = 20`, or `n = 20 down to 1`."""
    return count_text(table["n"].dropna().astype(int).tolist())


def _exemplar_and_natural(results: UtreraResults, rows: pd.DataFrame, by: list[str]) -> pd.DataFrame:
    ours, natural = at(rows, source=results.exemplar), at(rows, source=results.natural)
    if ours.empty:
        return _join()
    on = [column for column in ("target", "n_images", "seed", "epoch") if column in by or column == "seed"]
    parts = [_means(results, part, by).assign(panel="a", series=name) for part, name in ((ours, "robust"), (natural, "natural"))]
    gaps = statistics.paired(ours, natural, on)
    return _join(
        *parts, statistics.summarise(gaps, by, "difference", statistics.DIFFERENCE).assign(panel="b", series="robust minus natural")
    )


def _difference(results: UtreraResults, rows: pd.DataFrame, panel: str, left: str, right: str) -> pd.DataFrame:
    steps = results.perturbation(left) if panel == "a" and left in results.robust else None
    label = f"{steps}, {results.labels[left]}" if steps else results.labels[left]
    return _gaps(results, statistics.minus(rows, [left], right), panel, f"{label} minus {results.labels[right]}")


def _means(results: UtreraResults, rows: pd.DataFrame, by: list[str]) -> pd.DataFrame:
    return statistics.summarise(rows, by, "test_accuracy")


def _gaps(results: UtreraResults, gaps: pd.DataFrame, panel: str, series: str) -> pd.DataFrame:
    return statistics.summarise(gaps, SIZE, "difference", statistics.DIFFERENCE).assign(panel=panel, series=series)


def _join(*parts: pd.DataFrame) -> pd.DataFrame:
    """One table of all parts that have rows; the columns that every figure has come first."""
    filled = [part for part in parts if len(part)]
    if not filled:
        return pd.DataFrame(columns=COLUMNS)
    table = pd.concat(filled, ignore_index=True).astype({"n": "Int64"})
    first = [column for column in COLUMNS if column in table]
    extra = [column for column in ("epoch",) if column in table]
    return table[[*first[:5], *extra, *first[5:]]]


def _called(results: UtreraResults, source: str | None) -> str:
    return results.labels[source] if source else "a robust source"


def _without_robust(results: UtreraResults) -> list[str]:
    return [] if results.exemplar else ["a robust source"]
