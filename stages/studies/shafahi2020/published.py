"""What Shafahi et al. (ICLR 2020) published, Tables 1 to 7: beside each claim stand the numbers that its authors give for it."""

from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from stages.lib.report.reading import read_table
from stages.lib.report.wording import signed

FOLDER = Path(__file__).parent
TABLES = FOLDER / "published/tables.csv"
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


def load() -> Published:
    return Published(read_table(TABLES, COLUMNS))
