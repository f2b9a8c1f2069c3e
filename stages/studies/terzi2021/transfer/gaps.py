"""Robust minus standard sources by target and mode: the runs of Terzi et al. (2021, Tables 1 to 3 and 5 to 12), paired by subset."""

from dataclasses import dataclass
from typing import Any

import pandas as pd

from stages.lib.report import statistics
from stages.lib.report.results import Results, at
from stages.studies.terzi2021.published import Published

MODES = {"0": "head alone", "last_norm": "mode 0", "norms": "mode 1", "all": "mode 2"}  # what is trained besides the head: `blocks`
OF_PAPER = {"0": 0, "last_norm": 0, "norms": 1, "all": 2}  # the paper calls both mode 0, in its text and in its appendix
ARCHITECTURES = {  # the paper's name of an architecture, by the data and the architecture of a source
    ("cifar10", "cifar_resnet50"): "resnet50", ("cifar100", "cifar_resnet50"): "resnet50", ("cifar100", "cifar_resnet18"): "resnet18",
    ("imagenet", "resnet50"): "resnet50",
}  # fmt: skip
PAIR = ["source", "reference", "mode", "target"]
INTERVAL = ["mean", "low", "high"]


@dataclass(frozen=True)
class Gaps:
    """The robust sources beside the standard source of the same data and architecture."""

    references: dict[str, str]  # the standard source of each robust one
    runs: pd.DataFrame  # PAIR, seed, source_model, test_accuracy (robust), reference_accuracy, difference, maybe diverged
    modes: list[str]  # that there are runs of, in the order of the paper
    targets: list[str]

    @property
    def first_mode(self) -> str:
        """Mode 0: with the last batch norm where there is that, else the head alone."""
        return next((mode for mode in ("last_norm", "0") if mode in self.modes), "")


def references_of(results: Results) -> dict[str, str]:
    """The standard source of each one that is robust within L2: the first of the same data, part of the classes and architecture."""
    found = {}
    for robust in results.of_family("l2"):
        for name, card in results.cards.items():
            same = all(card.get(key) == results.cards[robust].get(key) for key in ("dataset", "part", "architecture"))
            if same and card["kind"] != "random" and not results.eps(name):
                found.setdefault(robust, name)
    return found


def gaps_of(results: Results) -> Gaps:
    """The pairs of runs at the compared number of images, by top-1 accuracy, also on targets that are reported by another metric."""
    references, parts = references_of(results), []
    rows = at(results.last, size=results.size)
    if len(results.measured):
        rows = rows.assign(test_accuracy=results.measured.loc[rows.index, "test_accuracy"])
    rows = rows[rows["blocks"].isin(list(MODES))].rename(columns={"blocks": "mode"})
    for robust, reference in references.items():
        theirs = at(rows, source=reference)
        paired = statistics.paired(at(rows, source=robust), theirs, ["target", "mode", "n_images", "seed"])
        accuracies = (paired["test_accuracy"] - paired["difference"]).round(9)
        parts.append(paired.assign(reference=reference, reference_accuracy=accuracies))
    columns = [*PAIR, "seed", "source_model", "test_accuracy", "reference_accuracy", "difference"]
    runs = pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=columns)
    runs = runs[[*columns, *(name for name in ("diverged",) if name in runs)]]
    modes, targets = set(runs["mode"]), set(runs["target"])
    return Gaps(references, runs, [mode for mode in MODES if mode in modes], [name for name in results.targets if name in targets])


def table(results: Results, gaps: Gaps, paper: Published) -> pd.DataFrame:
    """A row for each pair of sources, mode and target: PAIR, n; mean, low and high of `robust`, `standard` and `gap`; and as published."""
    columns = {"robust": ("test_accuracy", statistics.ACCURACY), "standard": ("reference_accuracy", statistics.ACCURACY),
               "gap": ("difference", statistics.DIFFERENCE)}  # fmt: skip
    rows = []
    for key, group in gaps.runs.groupby(PAIR, sort=False):
        row = dict(zip(PAIR, key, strict=True)) | {"n": len(group)}
        for name, (column, bounds) in columns.items():
            found = statistics.interval(group[column].to_numpy(), group["source_model"].to_numpy(), bounds)
            row |= dict(zip((f"{name}_{what}" for what in INTERVAL), found, strict=True))
        rows.append(row | published_of(results, paper, row["source"], row["target"], row["mode"]))
    order = {name: place for names in (gaps.modes, gaps.targets, list(gaps.references)) for place, name in enumerate(names)}
    found = pd.DataFrame(rows)
    return found.sort_values(["mode", "target", "source"], key=lambda c: c.map(order), ignore_index=True) if rows else found


def published_of(results: Results, paper: Published, robust: str, target: str, mode: str) -> dict[str, Any]:
    """The published accuracies and gap, and the gap as the paper prints it; None where it has no such source, target or mode."""
    card = results.cards[robust]
    architecture = ARCHITECTURES.get((card["dataset"], card["architecture"])) if not card.get("part") else None
    of = (card["dataset"], architecture, results.eps(robust), target, OF_PAPER[mode])
    standard, accuracy = paper.accuracies(*of) or (None, None)
    gap = None if standard is None else round(accuracy - standard, 2)
    return {"published_robust": accuracy, "published_standard": standard, "published_gap": gap, "printed_gap": paper.gap(*of)}
