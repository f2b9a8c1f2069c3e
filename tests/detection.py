"""The section `detect` in miniature, and its runs as their stage leaves them, made so that every mean is known."""

from typing import Any

import numpy as np
import pandas as pd

from stages.lib.store.tables import EXPERIMENT_RUNS
from stages.studies.salman2020.detection import numbers
from stages.studies.salman2020.detection.numbers import Detections

TASK = {
    "dataset": "scenes", "detector": "mask_rcnn", "iterations": 3, "batch_size": 2, "lr": 0.01, "drops": [2], "warmup": 1, "momentum": 0.9,
    "weight_decay": 0.0001, "freeze_at": 2, "flip": False, "shorter": [64], "longest": 64, "recall_points": 101, "max_images": 4,
}  # fmt: skip
SECTION = {
    "sources": ["natural", "l2_eps0_5", "random"], "n_seeds": 1, "tasks": {"letters": TASK | {"detector": "faster_rcnn"}, "shapes": TASK}, "pictures": 2,
}  # fmt: skip
SCENES = {"size": 64, "train": 6, "test": 5, "most": 3}
NATURAL = {"architecture": "small_resnet", "kind": "trained", "dataset": "glyphs", "threat": None}
CARDS = {
    "nat": NATURAL,
    "weak": NATURAL | {"threat": {"norm": "l2", "eps": 0.25, "perturbation": "PGD(3)"}},
    "strong": NATURAL | {"threat": {"norm": "l2", "eps": 1.0, "perturbation": "PGD(3)"}},
    "none": NATURAL | {"kind": "random", "dataset": None},
}


def detections(
    aps: dict[str, list[float]], cards: dict[str, Any] = CARDS, tasks: dict[str, Any] | None = None, models: int = 1, **arrays: np.ndarray
) -> Detections:
    """Detections from an AP of each source and seed; AP of masks is 5 lower."""
    tasks = tasks or {"shapes": TASK}
    rows = [
        (source, task["dataset"], name, 0.0, seed, measure, value - (5 if measure == "mask_ap" else 0), 0, "c")
        for name, task in tasks.items()
        for source, values in aps.items()
        for seed, value in enumerate(values)
        for measure in (["box_ap"] if task["detector"] == "faster_rcnn" else ["box_ap", "mask_ap"])
    ]
    runs = pd.DataFrame(rows, columns=list(EXPERIMENT_RUNS))
    return numbers.of_runs(runs, {name: cards[name] for name in aps}, "nat", dict.fromkeys(aps, models), tasks, arrays)
