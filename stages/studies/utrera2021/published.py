"""What Utrera et al. (ICLR 2021) published, Tables 1, 2, 5 and 7: beside each claim stand the numbers that its authors give for it."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from stages.lib.report.wording import images, signed
from stages.lib.store.tables import read_table

FOLDER = Path(__file__).parent
TABLES = {
    FOLDER / "published/table7.csv": ["target", "n_images", "natural", "l2_eps3", "linf_eps4_255", "linf_eps8_255", "random_init"],
    FOLDER / "published/sources.csv": ["source", "imagenet_top1"],
    FOLDER / "published/texture.csv": ["table", "measure", "robust_l2_eps3", "natural"],
    FOLDER / "published/seeds.csv": ["target", "source", "blocks", "n_images", "epoch", "n", "mean", "sd"],
}
NAMES = {
    "natural": "natural", "l2_eps3": "L2 3", "linf_eps4_255": "L∞ 4/255", "linf_eps8_255": "L∞ 8/255", "random_init": "random",
    "pgd1_l2_eps3": "PGD(1)", "gaussian_l2_eps3": "Gaussian",
}  # fmt: skip
SHOWN = ("cifar10", "svhn")  # targets that are quoted where none of column is in the table


@dataclass(frozen=True)
class Published:
    """The published tables, and which of their targets are quoted."""

    table7: pd.DataFrame
    sources: pd.DataFrame
    texture: pd.DataFrame
    seeds: pd.DataFrame  # mean and standard deviation over the authors' seeds, by epoch, up to 1,600 images
    targets: tuple[str, ...] = SHOWN

    def gap(self, column: str, reference: str, n_images: int | None = None, targets: Sequence[str] = ()) -> str:
        """Two columns of Table 7 against each other, at the fewest images where no number is given."""
        parts = []
        for target in targets or self.targets:
            rows = self.table7[self.table7["target"] == target]
            row = rows[rows["n_images"] == (n_images or rows["n_images"].min())].iloc[0]
            gap = signed(row[column] - row[reference], 2)
            parts.append(f"{target} {row[column]:.2f} − {row[reference]:.2f} = {gap}")
        return f"{NAMES[column]} minus {NAMES[reference]}, {images(n_images or self.table7['n_images'].min())}: {'; '.join(parts)}"

    def smallest_gap(self, column: str, reference: str) -> str:
        """Where in Table 7 the difference of two columns is least, and how often it is above zero."""
        gap = self.table7[column] - self.table7[reference]
        least = self.table7.loc[gap.idxmin()]
        where = f"{least['target']}, {images(least['n_images'])}"
        above = f"above zero in {(gap > 0).sum()} of {len(gap)} rows"
        return f"{NAMES[column]} minus {NAMES[reference]} is {above}; least {signed(gap.min(), 2)} ({where})"

    def change(self, column: str, reference: str) -> str:
        """The difference of two columns at the fewest and at the most images."""
        parts = []
        for target in self.targets:
            rows = self.table7[self.table7["target"] == target].sort_values("n_images")
            gap, n = (rows[column] - rows[reference]).tolist(), rows["n_images"].tolist()
            parts.append(f"{target} {signed(gap[0], 2)} at {n[0]:,}, {signed(gap[-1], 2)} at {n[-1]:,} images")
        return f"{NAMES[column]} minus {NAMES[reference]}: {'; '.join(parts)}"

    def source_accuracy(self) -> str:
        """ImageNet top-1 of their sources (Table 5, A.10)."""
        top1 = self.sources.set_index("source")["imagenet_top1"]
        parts = [f"{NAMES[name]} {top1[name]:.2f} %" for name in NAMES if name in top1]
        return f"ImageNet: {', '.join(parts)}"

    def stylised(self) -> str:
        row = self.texture[self.texture["measure"].str.contains("SIN.*after", regex=True)].iloc[0]
        return f"Stylised ImageNet, textures destroyed: L2 3 {row['robust_l2_eps3']:g} %, natural {row['natural']:g} %"


def load(targets: Sequence[str]) -> Published:
    """The published tables; of Table 7 those of our targets are quoted that it has, else two that it has."""
    tables = [read_table(path, columns) for path, columns in TABLES.items()]
    common = tuple(target for target in targets if target in set(tables[0]["target"]))
    return Published(*tables, targets=common or SHOWN)
