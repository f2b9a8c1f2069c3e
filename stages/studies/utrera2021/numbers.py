"""The numbers behind the paper's figures: each function says from a study's runs what one figure of Utrera et al. (2021) shows.

A difference is paired by subset. Tables in, tables out; `figures` draws them, and reports/tables/ keeps them.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

import pandas as pd

from stages.lib.report import statistics
from stages.lib.report.results import at
from stages.lib.report.wording import block_text, count_text, images, size_order
from stages.studies.utrera2021 import authors
from stages.studies.utrera2021.results import UtreraResults

SIZE = ["target", "n_images", "size"]
COLUMNS = ["whose", "panel", "series", *SIZE, "n", "mean", "low", "high", "diverged"]
OURS, AUTHORS = "ours", "published"
MINUS_NATURAL = "robust minus natural"
VALUES = ["mean", "low", "high"]


@dataclass(frozen=True)
class Numbers:
    """What a figure shows, a row per point: whose (ours, published), panel (a, b, ...), series, target, n_images, size, n, mean, low, high.

    Of ours, `diverged` is how many of the n have diverged. Figures 3 and 10 have a column epoch. Figures 4, 5 and 11, for which the
    authors took the best epoch of each run, have mean, low and high at that epoch, too; it is chosen on the test images, so that it is
    above what a model has that is chosen without them.
    """

    title: str
    table: pd.DataFrame  # empty where nothing of it is configured
    missing: list[str] = field(default_factory=list)  # what of the figure this configuration lacks

    @property
    def n(self) -> str:
        return subsets(self.table)


def all_figures(results: UtreraResults, theirs: pd.DataFrame) -> dict[str, Numbers]:
    """The numbers of all figures of the paper, by the name of their files.

    Args:
        theirs: `authors.results_of_authors`.
    """
    by_name = {
        "figure2": figure2(results, theirs),
        "figure3_10": figure3_10(results, theirs),
        "figure4": figure4(results, theirs, results.exemplar, "Figure 4"),
    }
    for name in [results.natural, *results.robust]:
        if name != results.exemplar:
            by_name[f"figure11_{name}"] = figure4(results, theirs, name, "Figure 11")
    return by_name | {"figure5": figure5(results, theirs), "figure8": figure8(results)}


def figure2(results: UtreraResults, theirs: pd.DataFrame) -> Numbers:
    """Figure 2: (a) accuracy of the exemplar and of natural against the number of images, (b) their difference."""
    title = f"Figure 2: {_called(results, results.exemplar)} and natural, {block_text(results.blocks)} fine-tuned"
    rows = at(results.last, blocks=results.blocks)
    table = _exemplar_and_natural(results, rows, at(theirs[theirs["last"]], blocks=results.blocks), SIZE)
    return Numbers(title, table, _without_robust(results))


def figure3_10(results: UtreraResults, theirs: pd.DataFrame) -> Numbers:
    """Figures 3 and 10: the accuracies and the difference of Figure 2 by epoch, at each size of `report.utrera2021.epochs_at`."""
    sizes = [size for size in results.epochs_at if size in results.sizes]
    ours, published = (at(rows, blocks=results.blocks) for rows in (results.runs, theirs.dropna(subset=["epoch"])))
    by = [*SIZE, "epoch"]
    table = _exemplar_and_natural(results, ours[ours["size"].isin(sizes)], published[published["size"].isin(sizes)], by)
    table = table.sort_values("size", key=lambda c: c.map(size_order), kind="stable", ignore_index=True)
    missing = [images(size) for size in results.epochs_at if size not in sizes]
    title = (
        f"Figures 3 and 10: accuracy by epoch, {_called(results, results.exemplar)} and natural, {block_text(results.blocks)} fine-tuned"
    )
    return Numbers(title, table, _without_robust(results) + ([f"{', '.join(missing)} (report.utrera2021.epochs_at)"] if missing else []))


def figure4(results: UtreraResults, theirs: pd.DataFrame, source: str | None, number: str) -> Numbers:
    """Figures 4 and 11: (a) accuracy of a source against the number of images for each number of blocks, (b) three blocks minus one."""
    title = f"{number}: numbers of fine-tuned blocks, {_called(results, source)}"
    pair, has_runs = results.block_pair, len(at(results.last, source=source)) > 0
    if not pair or not has_runs:
        return Numbers(title, _join(), ["a second number of blocks" if has_runs else "a robust source"])

    def table_of(runs: pd.DataFrame) -> pd.DataFrame:
        rows = at(runs, source=source)
        by_blocks = _means(results, rows, ["blocks", *SIZE])
        gaps = statistics.paired(*(at(rows, blocks=b) for b in pair), ["target", "n_images", "seed"])
        if gaps.empty:
            return _join()
        by_blocks = by_blocks.assign(panel="a", series=by_blocks["blocks"].map(block_text))
        return _join(by_blocks, _gaps(results, gaps, "b", name))

    name = f"{block_text(pair[0])} minus {block_text(pair[1])}"
    table = _with_best_epoch(results, table_of)
    if table.empty:
        return Numbers(title, table, [" and ".join(block_text(b) for b in pair)])
    rows = at(theirs[theirs["last"]], source=source)
    rows = rows[rows["blocks"].isin(set(results.last["blocks"]))]
    lines = authors.accuracies(rows).assign(panel="a", series=rows["blocks"].map(block_text))
    gaps = authors.differences(*(at(rows, blocks=b) for b in pair), SIZE).assign(panel="b", series=name)
    return Numbers(title, _with_published(table, lines, gaps))


def figure5(results: UtreraResults, theirs: pd.DataFrame) -> Numbers:
    """Figure 5: accuracy of the robust sources; smaller minus larger eps of a norm (their c); L2 minus each Linf source (their d, e).

    The paper has two targets in panels (a) and (b). Here panel (a) has a part for each target; the letters of the differences are
    the paper's.
    """
    title = f"Figure 5: constraints of the robust sources, {block_text(results.blocks)} fine-tuned"
    if len(results.robust) < 2:
        return Numbers(title, _join(), ["a second robust source"])
    radii, norms = results.eps_pairs, results.norm_pairs
    pairs = [("c", *pair) for pair in radii] + [("d", *pair) for pair in norms]

    def table_of(runs: pd.DataFrame) -> pd.DataFrame:
        rows = at(runs, blocks=results.blocks)
        accuracy = _means(results, rows[rows["source"].isin(results.robust)], ["source", *SIZE])
        accuracy = accuracy.assign(panel="a", series=accuracy["source"].map(results.labels))
        return _join(accuracy, *(_difference(results, rows, *pair) for pair in pairs))

    rows = at(theirs[theirs["last"]], blocks=results.blocks)
    robust = rows[rows["source"].isin(results.robust)]
    lines = [authors.accuracies(robust).assign(panel="a", series=robust["source"].map(results.labels))]
    lines += [
        authors.differences(at(rows, source=left), at(rows, source=right), SIZE).assign(
            panel=panel, series=_pair_text(results, left, right)
        )
        for panel, left, right in pairs
    ]
    missing = ([] if radii else ["two radii of a norm"]) + ([] if norms else ["an L2 and an L∞ source"])
    return Numbers(title, _with_published(_with_best_epoch(results, table_of), *lines), missing)


def figure8(results: UtreraResults) -> Numbers:
    """Figure 8: accuracy of sources trained (a) with PGD(k), (b) with PGD(1) and (c) with Gaussian noise, minus that of natural."""
    title = f"Figure 8: kinds of perturbation while the source was trained, {block_text(results.blocks)} fine-tuned"
    many, one, noise = results.many_steps, results.of_family("pgd1"), results.of_family("gaussian")
    kinds = {"a robust source": many, "a PGD(1) source": one, "a Gaussian source": noise}
    missing = [kind for kind, names in kinds.items() if not names]
    if not (one or noise):
        return Numbers(title, _join(), missing)
    rows = at(results.last, blocks=results.blocks)
    shown = [*((("a", many),) if many else ()), *(("b", name) for name in one), *(("c", name) for name in noise)]
    return Numbers(title, _join(*(_difference(results, rows, panel, name, results.natural) for panel, name in shown)), missing)


def subsets(table: pd.DataFrame) -> str:
    """How many subsets are behind the points of a figure: `n = 20`, or `n = 20 down to 1`."""
    return count_text(at(table, whose=OURS)["n"].dropna().astype(int).tolist())


def _exemplar_and_natural(results: UtreraResults, rows: pd.DataFrame, theirs: pd.DataFrame, by: list[str]) -> pd.DataFrame:
    """Panels a and b of Figures 2, 3 and 10.

    Args:
        rows: of our runs.
        theirs: of the authors' results.
        by: what a point belongs to.
    """
    sources = {"robust": results.exemplar, "natural": results.natural}
    ours = {name: at(rows, source=source) for name, source in sources.items()}
    if ours["robust"].empty:
        return _join()
    on = [column for column in ("target", "n_images", "seed", "epoch") if column in by or column == "seed"]
    gaps = statistics.paired(ours["robust"], ours["natural"], on)
    table = _join(
        *(_means(results, part, by).assign(panel="a", series=name) for name, part in ours.items()),
        statistics.summarise(gaps, by, "difference", statistics.DIFFERENCE).assign(panel="b", series=MINUS_NATURAL),
    )
    published = {name: at(theirs, source=source) for name, source in sources.items()}
    lines = [authors.accuracies(part).assign(panel="a", series=name) for name, part in published.items()]
    lines.append(authors.differences(*published.values(), by).assign(panel="b", series=MINUS_NATURAL))
    return _with_published(table, *lines)


def _difference(results: UtreraResults, rows: pd.DataFrame, panel: str, left: str, right: str) -> pd.DataFrame:
    return _gaps(results, statistics.minus(rows, [left], right), panel, _pair_text(results, left, right, steps=panel == "a"))


def _pair_text(results: UtreraResults, left: str, right: str, steps: bool = False) -> str:
    """`L2 0.5 minus natural`; with the number of steps of a robust source's perturbation where that is asked for."""
    perturbation = results.perturbation(left) if steps and left in results.robust else None
    label = f"{perturbation}, {results.labels[left]}" if perturbation else results.labels[left]
    return f"{label} minus {results.labels[right]}"


def _means(results: UtreraResults, rows: pd.DataFrame, by: list[str]) -> pd.DataFrame:
    return statistics.summarise(rows, by, "test_accuracy")


def _gaps(results: UtreraResults, gaps: pd.DataFrame, panel: str, series: str) -> pd.DataFrame:
    return statistics.summarise(gaps, SIZE, "difference", statistics.DIFFERENCE).assign(panel=panel, series=series)


def _with_best_epoch(results: UtreraResults, table_of: Callable[[pd.DataFrame], pd.DataFrame]) -> pd.DataFrame:
    """A table of the last epoch of each run, beside its values at the best epoch of each."""
    last, best = table_of(results.last), table_of(statistics.best_epoch(results.runs))
    key = ["panel", "series", *SIZE]
    return last.merge(best[[*key, *VALUES]], on=key, suffixes=("", "_at_best_epoch"), validate="one_to_one")


def _with_published(table: pd.DataFrame, *lines: pd.DataFrame) -> pd.DataFrame:
    """Our table, and below it the authors' lines."""
    published = _join(*lines)
    if published.empty or table.empty:
        return table
    return pd.concat([table, published.assign(whose=AUTHORS)], ignore_index=True)[list(table)]


def _join(*parts: pd.DataFrame) -> pd.DataFrame:
    """One table of all parts that have rows; the columns that every figure has come first."""
    filled = [part for part in parts if len(part)]
    if not filled:
        return pd.DataFrame(columns=COLUMNS)
    table = pd.concat(filled, ignore_index=True).assign(whose=OURS)
    table = table.astype({name: "Int64" for name in ("n", "diverged") if name in table})
    extra = [column for column in ("epoch",) if column in table]
    return table[[*COLUMNS[:6], *extra, *(column for column in COLUMNS[6:] if column in table)]]


def _called(results: UtreraResults, source: str | None) -> str:
    return results.labels[source] if source else "a robust source"


def _without_robust(results: UtreraResults) -> list[str]:
    return [] if results.exemplar else ["a robust source"]
