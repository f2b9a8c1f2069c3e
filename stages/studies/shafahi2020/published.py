"""What Shafahi et al. (ICLR 2020) published, Tables 1 to 7: beside each claim stand the numbers that its authors give for it.

A published accuracy stands beside one of ours only where source, target and attack are the authors' (`Published.beside`).
"""

from dataclasses import dataclass
from math import isclose
from pathlib import Path
from typing import Any

import pandas as pd

from stages.lib.report.cards import Card, threat_of
from stages.lib.report.wording import signed
from stages.lib.store.tables import read_table

FOLDER = Path(__file__).parent
TABLES = FOLDER / "published/tables.csv"
BEFORE = {"4": ("2", "cifar10"), "5": ("1", "cifar100+"), "6": ("2", "cifar100 (other 50%)"), "7": ("1", "cifar10+")}
"""Where the source stands that learns without forgetting: by table, the table and target of its robust source."""
COLUMNS = ["table", "source", "target", "source_model", "setting", "clean_accuracy", "pgd20_accuracy"]
HALF = {"of": 2, "number": 0, "seed": 0}  # of the classes: the part that a source of half of them learns here
TARGETS = {  # the names of published/tables.csv, and of the catalog; a `+` there stands for augmentation
    "cifar100 (other 50%)": "cifar100_other", "cifar100 (same 50%)": "cifar100_same", "cifar100 (other 1/2)": "cifar100_other",
}  # fmt: skip


@dataclass(frozen=True)
class Setup:
    """What the sources of a table are, and how robustness is measured: by PGD(20) on the cross-entropy, from a random start."""

    architecture: str
    norm: str  # of the ball of the robust source, and of that within which robustness is measured
    eps: float
    perturbation: str  # that the robust source learnt from, as its card says it
    step: float | None  # of PGD(20); None: not published

    def made(self, card: Card, robust: bool) -> bool:
        """Whether a source is one of these: of this architecture, natural or robust within this ball by this perturbation."""
        threat = threat_of(card)
        if card["architecture"] != self.architecture or bool(threat) != robust:
            return False
        ball = robust and threat["norm"] == self.norm and isclose(threat["eps"], self.eps, rel_tol=1e-6)
        return not robust or (ball and threat.get("perturbation") == self.perturbation)

    def measured(self, norm: str, eps: float, attack: dict[str, Any]) -> bool:
        """Whether robustness is measured so; attack: settings of `settings.attacks`."""
        how = {name: attack.get(name) for name in ("kind", "loss", "steps", "restarts", "target", "random_start")}
        pgd20 = {"kind": "pgd", "loss": "cross_entropy", "steps": 20, "restarts": 1, "target": None, "random_start": True}
        ball = norm == self.norm and isclose(eps, self.eps, rel_tol=1e-6)
        return ball and how == pgd20 and (self.step is None or isclose(attack["step_ratio"] * eps / 20, self.step, rel_tol=1e-6))


CIFAR = Setup("madry_wide_resnet32_10", "linf", 8 / 255, "PGD(7)", 2 / 255)  # footnote 2 and the released config.json
IMAGENET = Setup("resnet50", "linf", 5 / 255, "free, m = 4", None)  # Section 4.1.1
SETUPS = {"1": CIFAR, "2": CIFAR, "3": IMAGENET, "4": CIFAR, "5": CIFAR, "6": CIFAR, "7": CIFAR}  # by table


@dataclass(frozen=True)
class Published:
    """The tables as one."""

    tables: pd.DataFrame

    def beside(
        self, training: str, card: Card, target: str, *, norm: str, eps: float, attack: dict[str, Any], lambda_d: float | None = None
    ) -> dict[str, float] | None:
        """Clean and PGD-20 accuracy that the paper gives for a model such as one of ours; None where it has no such model.

        Architecture, data, part of the classes and threat model of the source have to be theirs, the target, and norm, eps and attack
        with which robustness is measured. Steps and rates of the training may differ.

        Args:
            training: how the setting of a table begins, `trained on target`, `frozen` or `LwF`; the latter with a lambda_d.
            card: of our source.
            norm, eps, attack: with which the robustness of ours is measured.
        """
        for row in self.tables[self.tables["setting"].str.startswith(training)].itertuples():
            if lambda_d is not None and not isclose(float(row.setting.rpartition("=")[2]), lambda_d, rel_tol=1e-6):
                continue
            setup, robust = SETUPS[str(row.table)], row.source_model.startswith("robust")
            to = TARGETS.get(row.target, row.target.removesuffix("+"))
            data = to if row.source == "-" else row.source.split(" ")[0].removesuffix("+")
            part = HALF if "50%" in row.source or "1/2" in row.source else None
            learnt = card["dataset"] == data and card.get("part") == part
            if to == target and learnt and setup.made(card, robust) and setup.measured(norm, eps, attack):
                return {"clean": row.clean_accuracy, "robust": row.pgd20_accuracy}
        return None

    def robust_targets(self) -> str:
        rows = self.tables[(self.tables["table"].astype(str) == "3") & (self.tables["setting"] == "frozen ResNet-50")]
        parts = [f"{target} {', '.join(f'{r.source_model} {r.pgd20_accuracy:.2f} %' for r in group.itertuples())}"
                 for target, group in rows.groupby("target", sort=False)]  # fmt: skip
        return f"PGD-20, frozen ResNet-50: {'; '.join(parts)}"

    def frozen(self, model: str, other: str | None, measure: str) -> str:
        """Heads on frozen features of Tables 2 and 3: one source model, or it minus another."""
        rows = self.tables[self.tables["setting"].str.startswith("frozen")]
        parts = []
        for (source, target), group in rows.groupby(["source", "target"], sort=False):
            values = {kind: group.loc[group["source_model"].str.startswith(kind), measure].iloc[0] for kind in (model, other) if kind}
            text = " − ".join(f"{value:.2f}" for value in values.values())
            gap = f" = {signed(values[model] - values[other], 2)}" if other else " %"
            parts.append(f"{source} to {target} {text}{gap}")
        return "; ".join(parts)

    def forgetting(self, measure: str) -> str:
        """The smallest and the largest lambda_d of Tables 4 to 7."""
        parts = []
        for table in ("4", "5", "6", "7"):
            group = self.tables[self.tables["table"].astype(str) == table]
            first, last = group.iloc[0], group.iloc[-1]
            what = f"{first['source']} to {first['target']}"
            ends = (f"{row['setting'].removeprefix('LwF ')} {row[measure]:.2f} %" for row in (first, last))
            parts.append(f"{what}: {', '.join(ends)}")
        return "; ".join(parts)

    def kept(self) -> str:
        """The highest PGD-20 accuracy of Tables 4 to 7 minus that of the source."""
        measure = "pgd20_accuracy"
        return "; ".join(_minus(group.loc[group[measure].idxmax()], before, measure) for group, before in self._with_sources())

    def improved(self, margin: float) -> str:
        """The highest clean accuracy of Tables 4 to 7, where PGD-20 accuracy is at most so many points lower, minus that of the source."""
        parts = []
        for group, before in self._with_sources():
            held = group[group["pgd20_accuracy"] >= before["pgd20_accuracy"] - margin]
            parts.append(_minus(held.loc[held["clean_accuracy"].idxmax()], before, "clean_accuracy"))
        return "; ".join(parts)

    def _with_sources(self) -> list[tuple[pd.DataFrame, pd.Series]]:
        """The rows of each of Tables 4 to 7, and the row of the source that they are to be compared with."""
        numbers, robust = self.tables["table"].astype(str), self.tables["source_model"] == "robust"
        return [
            (self.tables[numbers == number], self.tables[(numbers == table) & robust & (self.tables["target"] == target)].iloc[0])
            for number, (table, target) in BEFORE.items()
        ]


def _minus(row: pd.Series, before: pd.Series, measure: str) -> str:
    """One accuracy minus another, with both and their difference."""
    gap = signed(row[measure] - before[measure], 2)
    what = f"{row['source']} to {row['target']}, {row['setting'].removeprefix('LwF ')}"
    return f"{what}: {row[measure]:.2f} − {before[measure]:.2f} = {gap}"


def load() -> Published:
    return Published(read_table(TABLES, COLUMNS))
