"""What Salman et al. (NeurIPS 2020) published: Tables 1 and 2, and the best of their runs by target, architecture and mode.

Published figures stand beside ours where the source is one of their models, which the catalog calls `salman_...`, the target has the
paper's name, and the mode is the same.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from stages.lib.report.results import at, row_at
from stages.lib.report.wording import signed
from stages.lib.store.tables import read_table
from stages.studies.salman2020 import regression

FOLDER = Path(__file__).parent / "published"
THEIRS = "salman_"  # with which the names of their models begin
TABLES = {
    "table1.csv": ["mode", "source", "target", "test_accuracy"],
    "best.csv": ["mode", "target", "architecture", "eps", "lr", "test_accuracy"],
    "table2.csv": ["eps", "architecture", "source_accuracy", "target_accuracy"],
}


@dataclass(frozen=True)
class Published:
    """The published tables."""

    table1: pd.DataFrame  # the highest mean of three trials over learning rates, architectures and, of `robust`, radii
    best: pd.DataFrame  # the single run that is best on the test images, and its radius, of each target, architecture and mode
    table2: pd.DataFrame  # source and target accuracy (CIFAR-10, full network) of six further architectures

    def of_table1(self, mode: str, target: str) -> dict[str, float] | None:
        """Robust and standard accuracy; None of a target that is not in the paper."""
        rows = at(self.table1, mode=mode, target=target)
        return None if rows.empty else dict(zip(rows["source"], rows["test_accuracy"], strict=True))

    def best_run(self, mode: str, target: str, architecture: str) -> tuple[float, float] | None:
        """Radius and accuracy of the best run; None where there is none."""
        row = row_at(self.best, mode=mode, target=target, architecture=architecture)
        return None if row is None else (float(row["eps"]), float(row["test_accuracy"]))

    def rows(self) -> list[dict[str, Any]]:
        """A row for each target: its name, and by mode Table 1 and the radii of the best run by architecture, from narrow to wide."""
        return [
            {"target": target} | {mode: self.of_table1(mode, target) | {"radii": self._radii(mode, target)} for mode in ("fixed", "full")}
            for target in dict.fromkeys(self.table1["target"])
        ]

    def _radii(self, mode: str, target: str) -> str:
        return ", ".join(f"{eps:g}" for eps in at(self.best, mode=mode, target=target)["eps"])

    def r_squared(self) -> list[dict[str, float]]:
        """Table 2: for natural (eps 0) and L2 3, R^2 over its six architectures, with its interval: eps, mean, low, high."""
        found = []
        for eps, rows in self.table2.groupby("eps"):
            points = pd.DataFrame({regression.X: rows["source_accuracy"], regression.Y: rows["target_accuracy"]})
            found.append({"eps": eps} | dict(zip(("mean", "low", "high"), regression.r_squared(points), strict=True)))
        return found

    def gaps(self, mode: str) -> str:
        """Robust minus standard in Table 1, in words."""
        wide = at(self.table1, mode=mode).pivot(index="target", columns="source", values="test_accuracy")
        gap = wide["robust"] - wide["standard"]
        most, least = gap.idxmax(), gap.idxmin()
        return (
            f"Table 1: above zero on {(gap > 0).sum()} of {len(gap)} targets, {signed(gap.mean(), 2)} on average; "
            f"most {most} {signed(gap[most], 2)}, least {least} {signed(gap[least], 2)}"
        )

    def radii(self, mode: str = "fixed") -> str:
        """The best radii of a ResNet-50 by target, in words."""
        rows = at(self.best, mode=mode, architecture="resnet50").sort_values("eps", kind="stable")
        by_eps = rows.groupby("eps")["target"].agg(", ".join)
        return "best runs of a ResNet-50, fixed features: " + "; ".join(f"eps {eps:g}: {names}" for eps, names in by_eps.items())


def load() -> Published:
    return Published(*(read_table(FOLDER / name, columns) for name, columns in TABLES.items()))
