"""What the papers published, from reports/reference/*.csv: beside each claim stand the numbers that its authors give for it.

Utrera et al. (ICLR 2021): Tables 1, 2, 5 and 7; Shafahi et al., "Adversarially robust transfer learning" (ICLR 2020): Table 3.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from stages.lib.report.results import read_table
from stages.lib.report.study import images, signed

FOLDER = Path("reports/reference")
COLUMNS = {
    "utrera_table7": ["target", "n_images", "natural", "l2_eps3", "linf_eps4_255", "linf_eps8_255", "random_init"],
    "utrera_sources": ["source", "imagenet_top1"],
    "utrera_texture": ["table", "measure", "robust_l2_eps3", "natural"],
    "shafahi_tables": ["table", "source", "target", "source_model", "setting", "clean_accuracy", "pgd20_accuracy"],
}
PATHS = [FOLDER / f"{name}.csv" for name in COLUMNS]
NAMES = {
    "natural": "natural", "l2_eps3": "L2 3", "linf_eps4_255": "L∞ 4/255", "linf_eps8_255": "L∞ 8/255", "random_init": "random",
    "pgd1_l2_eps3": "PGD(1)", "gaussian_l2_eps3": "Gaussian",
}  # fmt: skip
SHOWN = ("cifar10", "svhn")  # targets that are quoted where none of ours is in the table


@dataclass(frozen=True)
class Reference:
    """The published tables, and which of their targets are quoted."""

    table7: pd.DataFrame
    sources: pd.DataFrame
    texture: pd.DataFrame
    shafahi: pd.DataFrame
    targets: tuple[str, ...] = SHOWN

    def gap(self, ours: str, theirs: str, n_images: int | None = None, targets: Sequence[str] = ()) -> str:
        """Two columns of Table 7 against each other, at the fewest images where no number is given."""
        parts = []
        for target in targets or self.targets:
            rows = self.table7[self.table7["target"] == target]
            row = rows[rows["n_images"] == (n_images or rows["n_images"].min())].iloc[0]
            gap = signed(row[ours] - row[theirs], 2)
            parts.append(f"{target} {row[ours]:.2f} − {row[theirs]:.2f} = {gap}")
        return f"{NAMES[ours]} minus {NAMES[theirs]}, {images(n_images or self.table7['n_images'].min())}: {'; '.join(parts)}"

    def smallest_gap(self, ours: str, theirs: str) -> str:
        """Where in Table 7 the difference of two columns is least, and how often it is above zero."""
        gap = self.table7[ours] - self.table7[theirs]
        least = self.table7.loc[gap.idxmin()]
        where = f"{least['target']}, {images(least['n_images'])}"
        above = f"above zero in {(gap > 0).sum()} of {len(gap)} rows"
        return f"{NAMES[ours]} minus {NAMES[theirs]} is {above}; least {signed(gap.min(), 2)} ({where})"

    def change(self, ours: str, theirs: str) -> str:
        """The difference of two columns at the fewest and at the most images."""
        parts = []
        for target in self.targets:
            rows = self.table7[self.table7["target"] == target].sort_values("n_images")
            gap, n = (rows[ours] - rows[theirs]).tolist(), rows["n_images"].tolist()
            parts.append(f"{target} {signed(gap[0], 2)} at {n[0]:,}, {signed(gap[-1], 2)} at {n[-1]:,} images")
        return f"{NAMES[ours]} minus {NAMES[theirs]}: {'; '.join(parts)}"

    def source_accuracy(self) -> str:
        """ImageNet top-1 of their sources (Table 5, A.10)."""
        top1 = self.sources.set_index("source")["imagenet_top1"]
        parts = [f"{NAMES[name]} {top1[name]:.2f} %" for name in NAMES if name in top1]
        return f"ImageNet: {', '.join(parts)}"

    def stylised(self) -> str:
        row = self.texture[self.texture["measure"].str.contains("SIN.*after", regex=True)].iloc[0]
        return f"Stylised ImageNet, textures destroyed: L2 3 {row['robust_l2_eps3']:g} %, natural {row['natural']:g} %"

    def robust_targets(self) -> str:
        rows = self.shafahi[(self.shafahi["table"].astype(str) == "3") & (self.shafahi["setting"] == "frozen ResNet-50")]
        parts = [f"{target} {', '.join(f'{r.source_model} {r.pgd20_accuracy:.2f} %' for r in own.itertuples())}"
                 for target, own in rows.groupby("target", sort=False)]  # fmt: skip
        return f"PGD-20, frozen ResNet-50: {'; '.join(parts)}"

    def frozen(self, ours: str, theirs: str | None, measure: str) -> str:
        """Heads on frozen features of Tables 2 and 3: one source model, or it minus another."""
        rows = self.shafahi[self.shafahi["setting"].str.startswith("frozen")]
        parts = []
        for (source, target), own in rows.groupby(["source", "target"], sort=False):
            values = {kind: own.loc[own["source_model"].str.startswith(kind), measure].iloc[0] for kind in (ours, theirs) if kind}
            text = " − ".join(f"{value:.2f}" for value in values.values())
            gap = f" = {signed(values[ours] - values[theirs], 2)}" if theirs else " %"
            parts.append(f"{source} to {target} {text}{gap}")
        return "; ".join(parts)

    def forgetting(self, measure: str) -> str:
        """The smallest and the largest lambda_d of Tables 4 to 7."""
        parts = []
        for table in ("4", "5", "6", "7"):
            own = self.shafahi[self.shafahi["table"].astype(str) == table]
            first, last = own.iloc[0], own.iloc[-1]
            what = f"{first['source']} to {first['target']}"
            ends = (f"{row['setting'].removeprefix('LwF ')} {row[measure]:.2f} %" for row in (first, last))
            parts.append(f"{what}: {', '.join(ends)}")
        return "; ".join(parts)


def load(targets: Sequence[str]) -> Reference:
    """The published tables; of Table 7 those of our targets are quoted that it has, else two that it has."""
    tables = [read_table(path, columns) for path, columns in zip(PATHS, COLUMNS.values(), strict=True)]
    common = tuple(target for target in targets if target in set(tables[0]["target"]))
    return Reference(*tables, targets=common or SHOWN)
