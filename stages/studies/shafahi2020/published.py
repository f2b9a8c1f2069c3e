"""What Shafahi et al. (ICLR 2020) published, Tables 1 to 7: beside each claim stand the numbers that its authors give for it."""

from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from stages.lib.report.reading import read_table
from stages.lib.report.wording import signed

FOLDER = Path(__file__).parent
TABLES = FOLDER / "published/tables.csv"
BEFORE = {"4": ("2", "cifar10"), "5": ("1", "cifar100+"), "6": ("2", "cifar100 (other 50%)"), "7": ("1", "cifar10+")}
"""Where the source stands that learns without forgetting: by table, the table and target of its robust source."""
COLUMNS = ["table", "source", "target", "source_model", "setting", "clean_accuracy", "pgd20_accuracy"]


@dataclass(frozen=True)
class Published:
    """The tables as one."""

    tables: pd.DataFrame

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
