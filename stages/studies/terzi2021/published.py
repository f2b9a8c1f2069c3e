"""What Terzi et al. (AAAI 2021) published: Tables 1 to 3 and 5 to 12; and distances of Cui et al. (CVPR 2018), by which they order targets.

Published figures stand beside ours where the data, the architecture, the norm and the eps of the source, the target and the mode are the
paper's.
"""

from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from stages.lib.report.results import at, row_at
from stages.lib.report.wording import number
from stages.lib.store.tables import read_table

FOLDER = Path(__file__).parent / "published"
OF = ["source", "architecture", "eps", "target", "mode"]  # what a published figure is of; the robust source has eps, within L2
TABLES = {
    "tables.csv": ["table", *OF, "standard", "robust"],
    "gaps.csv": ["table", *OF, "gap"],
    "cui_emd.csv": ["source", "target", "emd"],
}


@dataclass(frozen=True)
class Published:
    """The published tables; accuracies in percent, gaps in points."""

    tables: pd.DataFrame  # Tables 1 to 3, 5 to 7 and 11: accuracy from the standard and from the robust source
    gaps: pd.DataFrame  # Tables 8 to 10 and 12, as they are printed
    distances: pd.DataFrame  # Cui et al.: by other features than the paper's, which the paper does not say; their order alone counts

    def accuracies(self, source: str, architecture: str, eps: float, target: str, mode: int) -> tuple[float, float] | None:
        """Accuracy from the standard and from the robust source; None where there is none.

        Of several tables the last: Table 1 has fewer digits than Table 6.
        """
        rows = at(self.tables, source=source, architecture=architecture, eps=eps, target=target, mode=mode)
        return None if rows.empty else tuple(rows.iloc[-1][["standard", "robust"]].astype(float))

    def gap(self, source: str, architecture: str, eps: float, target: str, mode: int) -> float | None:
        """Robust minus standard, as a table of gaps has it; None where none has it."""
        row = row_at(at(self.gaps, source=source, architecture=architecture, eps=eps), target=target, mode=mode)
        return None if row is None else float(row["gap"])

    def sizes(self) -> str:
        """The mean size of the gaps of Tables 6 and 7 by mode, in words."""
        rows = self.tables[self.tables["table"].isin([6, 7])]
        means = (rows["robust"] - rows["standard"]).abs().groupby([rows["source"], rows["mode"]], sort=False).mean()
        by_source = "; ".join(f"{name} {', '.join(number(value, 2) for value in means[name])}" for name in means.index.unique(0))
        return f"mean size over targets in modes 0, 1 and 2 (Tables 6 and 7), in points: {by_source}"


def load() -> Published:
    return Published(*(read_table(FOLDER / name, columns) for name, columns in TABLES.items()))
