"""Experiments of Shafahi et al. (2020) as their stage leaves them, made so that every mean is known."""

from collections.abc import Callable
from itertools import product

import numpy as np
import pandas as pd

from stages.lib.store import tables
from stages.studies.shafahi2020 import numbers
from stages.studies.shafahi2020.numbers import Transfers

NATURAL = {"architecture": "madry_wide_resnet32_10", "threat": None, "dataset": "cifar100", "part": None}
ROBUST = NATURAL | {"threat": {"norm": "linf", "eps": 8 / 255, "perturbation": "PGD(7)"}}
HOW = {"kind": "pgd", "steps": 20, "step_ratio": 5.0, "loss": "cross_entropy", "random_start": True, "restarts": 1, "target": None}
NOT_ACCURACY = ("images", "passes", "train distance", "test distance")
CARDS = {"nat": NATURAL, "rob": ROBUST}


def rows() -> list[tuple]:
    """Runs of every experiment: experiment, source, target, method, setting, seed, measure, value."""
    found = []

    def add(experiment, source, target, method, setting, seeds=1, **values):
        found.extend((experiment, source, target, method, float(setting), seed, name.replace("_", " "), value + seed) for seed in range(seeds)
                     for name, value in values.items())  # fmt: skip

    for source, top in (("nat", 0.0), ("rob", 50.0)):
        add("retrain", source, "cifar100", "source", 0, clean=80.0, pgd20=top)
        for k in (1, 5, 10):
            add("retrain", source, "cifar100", "retrained", k, seeds=2, clean=80.0, pgd20=max(0.0, top - 4 * k), images=640.0, train=90.0)
    for source, target in product(CARDS, ("cifar10", "cifar100_other")):
        robust = source == "rob"
        for hidden in (0, 2):
            left = {"pgd20": (30.0 if robust else 2.0) + 10 * hidden, "cw20": 29.0 if robust else 0.0}
            add("train_heads", source, target, "plain", hidden, clean=70.0 if robust else 80.0, train=90.0, **left)
        add("train_heads", source, target, "regularised", 2, clean=72.0, train=85.0, pgd20=20.0, cw20=10.0)
    for n, (method, robust) in product((5, 50), (("adversarial", 10.0), ("finetuned", 20.0), ("transferred", 40.0))):
        add("harden", "rob", "cifar10", method, n, seeds=2, clean=50.0, pgd20=robust, passes=100.0 * n)
    for value in (0.0, 0.001, 0.1):
        add(
            "learn_without_forgetting",
            "rob",
            "cifar10",
            "written",
            value,
            train=99.0,
            clean=90 - 100 * value,
            pgd20=300 * value,
        )
    add("learn_without_forgetting", "rob", "cifar10", "frozen", 0, clean=70.0, pgd20=18.0, train=75.0)
    add("learn_without_forgetting", "rob", "cifar10", "distance", 0, train_distance=5.5, test_distance=5.6)
    return found


def images(runs: pd.DataFrame, order: Callable[[int], np.ndarray]) -> pd.DataFrame:
    """Test images of these runs, of which as many are correct as their accuracy says, by the order in which they become it."""
    parts = [
        pd.DataFrame(row._asdict() | {"image": np.arange(row.n_test), "correct": order(row.n_test) < row.value / 100 * row.n_test - 1e-9})
        for row in runs[runs["n_test"] > 0].itertuples(index=False)
    ]
    return pd.concat(parts, ignore_index=True)[list(tables.EXPERIMENT_IMAGES)]


def transfers(
    rows: list[tuple] = (), cards: dict | None = None, n_test: int = 400, order: Callable[[int], np.ndarray] = np.arange, **arrays: dict
) -> Transfers:
    """Experiments of Shafahi et al. with these runs.

    Args:
        order: of so many images the order in which they become correct as accuracy rises, called for each run.
        rows: experiment, source, target, method, setting, seed, measure, value.
    """
    runs = pd.DataFrame(rows, columns=["experiment", *list(tables.EXPERIMENT_RUNS)[:-2]])
    runs["n_test"] = [0 if measure in NOT_ACCURACY else n_test for measure in runs["measure"]]
    by_experiment = {name: own.drop(columns="experiment").assign(cell="c") for name, own in runs.groupby("experiment")}
    of_images = {name: images(own, order) for name, own in by_experiment.items()}
    cards = cards or {}
    return Transfers(
        *numbers.tables_of(by_experiment, of_images, "pgd20"), cards=cards, labels={name: name for name in cards}, attack="pgd20",
        margin_attack="cw20", norm="linf", eps=8 / 255, how=HOW, n_test=str(n_test), classes=dict.fromkeys(runs["target"], 10), **arrays,
    )  # fmt: skip
