"""What Salman et al. (2020) published of detection (Figure 4), and beside which of our numbers it stands: where all is as they had it."""

from pathlib import Path
from typing import Any

import pandas as pd

from stages.lib.report.cards import Card, family_of
from stages.lib.store.tables import read_table
from stages.studies.salman2020.detection.numbers import MEASURES, Detections

TABLE = Path(__file__).parents[1] / "published/detection.csv"
COLUMNS = ["task", "metric", "standard", "standard_sd", "robust", "robust_sd", "n_runs"]
TASKS = {  # what the paper calls a detector on a set
    ("voc0712", "faster_rcnn"): "VOC Object Detection",
    ("coco2017", "faster_rcnn"): "COCO Object Detection",
    ("coco2017", "mask_rcnn"): "COCO Instance Segmentation",
}
OF_ALL = {"batch_size": 16, "lr": 0.02, "weight_decay": 0.0001, "freeze_at": 2}
OF_SETS = {
    "voc0712": OF_ALL | {"iterations": 18000, "drops": [12000, 16000], "recall_points": 11},
    "coco2017": OF_ALL | {"iterations": 270000, "drops": [210000, 250000], "recall_points": 101},
}  # fmt: skip


def load() -> pd.DataFrame:
    return read_table(TABLE, COLUMNS)


def row_of(published: pd.DataFrame, panel: tuple[str, str, str], settings: dict[str, Any]) -> pd.Series | None:
    """What was published of a detector on a set; None where nothing was, or with another schedule or another AP.

    Args:
        panel: task, set and measure.
        settings: of the task.
    """
    _, target, measure = panel
    name = TASKS.get((target, settings["detector"]))
    if name is None or any(settings[key] != value for key, value in OF_SETS[target].items()):
        return None
    rows = published[(published["task"] == name) & (published["metric"] == MEASURES[measure])]
    return None if rows.empty else rows.iloc[0]


def is_theirs(card: Card, robust: bool) -> bool:
    """Whether a source is one of the paper's: a ResNet-50 of ImageNet, natural or within a ball."""
    return card["architecture"] == "resnet50" and card["dataset"] == "imagenet" and (family_of(card) in ("l2", "linf")) == robust


def beside(published: pd.DataFrame, detections: Detections, panel: tuple[str, str, str]) -> dict[str, float]:
    """The published AP of the natural source, of the best robust one, and their difference; nothing where ours is another comparison."""
    row = row_of(published, panel, detections.tasks[panel[0]])
    robust = [detections.cards[name] for name in detections.robust]
    if row is None or detections.natural is None or not robust or not all(is_theirs(card, True) for card in robust):
        return {}
    if not is_theirs(detections.cards[detections.natural], False):
        return {}
    return {"natural": float(row["standard"]), "robust": float(row["robust"]), "difference": float(row["robust"] - row["standard"])}


def text(published: pd.DataFrame) -> str:
    """All published differences in words."""
    parts = [
        f"{row.task}, {row.metric}: {row.standard:.2f} to {row.robust:.2f} ({row.robust - row.standard:+.2f})"
        for row in published.itertuples()
    ]
    return "best robust ResNet-50 of ImageNet after the natural one: " + "; ".join(parts)
