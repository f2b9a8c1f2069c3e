"""What Utrera et al. (2021) published of influence (Section 6), and beside which of our numbers it stands: where all is as they had it."""

from pathlib import Path
from typing import Any

import pandas as pd

from stages.lib.report.cards import Card, threat_of
from stages.lib.store.tables import read_table

TABLE = Path(__file__).with_name("published") / "influence.csv"
COLUMNS = ["measure", "robust_l2_eps3", "natural"]
THEIRS = {"n_images": 3200, "blocks": 3}  # of CIFAR-10
CURVES = "curves and grey levels, without numbers"


def load() -> pd.DataFrame:
    return read_table(TABLE, COLUMNS).set_index("measure")


def column_of(card: Card, target: str, settings: dict[str, Any]) -> str | None:
    """The column that a source stands beside; None where it, the target, or how it was fine-tuned, is another."""
    if target != "cifar10" or any(settings[key] != value for key, value in THEIRS.items()):
        return None
    if (card["architecture"], card["dataset"]) != ("resnet50", "imagenet"):
        return None
    threat = threat_of(card)
    if not threat:
        return "natural"
    return "robust_l2_eps3" if (threat["norm"], threat["eps"]) == ("l2", 3.0) and not threat.get("perturbation") else None


def text(published: pd.DataFrame, measure: str) -> str:
    row = published.loc[measure]
    gap = row["robust_l2_eps3"] - row["natural"]
    return f"CIFAR-10, 3,200 images, one subset: L2 3 {row['robust_l2_eps3']:.1f} − natural {row['natural']:.1f} = +{gap:.1f}"
