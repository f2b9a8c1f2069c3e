"""The experiments of Shafahi et al. (ICLR 2020), read and brought into the numbers of their figures.

Every accuracy is a mean over seeds. Its interval is the one over seeds where there are several, else Wilson's over test images.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from stages.lib.datasets.sets import card_of
from stages.lib.networks.sources import paths
from stages.lib.report import statistics
from stages.lib.report.results import label_of, read_arrays, read_table
from stages.lib.report.study import at
from stages.lib.store import files
from stages.lib.store.tables import HARDENED, HEADS, REMEMBERING, RETRAINED, TRANSFERS

BY = ["source", "target", "method", "setting", "measure"]
SECTIONS = {"retrain": RETRAINED, "train_heads": HEADS, "harden": HARDENED, "learn_without_forgetting": REMEMBERING}
NOT_ACCURACY = ("images", "passes", "train distance", "test distance")
BOTH = "mean of both"  # of clean accuracy and accuracy under attack


@dataclass(frozen=True)
class Transfers:
    """What the sections left that are on; a table of a section that is off is empty.

    Tables: source, target, method, setting, measure, mean, low, high, n (seeds).
    """

    retrained: pd.DataFrame
    heads: pd.DataFrame
    hardened: pd.DataFrame
    remembering: pd.DataFrame
    runs: pd.DataFrame  # of all sections, with a column `section`: a row for each seed
    cards: dict[str, dict[str, Any]]  # of the sources
    labels: dict[str, str]
    attack: str  # by which robustness is measured where one is shown
    margin_attack: str | None  # that follows the margin, which does not saturate
    n_test: int
    classes: dict[str, int]  # of each target
    gradients: dict[tuple[str, str], dict[str, np.ndarray]] = field(default_factory=dict)  # by source and target
    distances: dict[tuple[str, str], dict[str, np.ndarray]] = field(default_factory=dict)

    @property
    def is_empty(self) -> bool:
        return self.runs.empty

    def data_of(self, source: str) -> str:
        """The data that a source was trained on, and which part of their classes."""
        card = self.cards[source]
        return card["dataset"] + (f", part {card['part']['number'] + 1}" if card.get("part") else "")

    def robust(self, source: str) -> bool:
        return bool(self.cards[source]["threat"] and self.cards[source]["threat"]["eps"])

    def described(self) -> list[tuple[str, str, str, float]]:
        """Each source's name, label, family of its colour, and eps, as `figures.looks_of` takes them."""
        threats = {name: card["threat"] if self.robust(name) else {"norm": "natural", "eps": 0.0} for name, card in self.cards.items()}
        return [(name, self.labels[name], threat["norm"], threat["eps"]) for name, threat in threats.items()]


def load(settings: dict[str, Any], resamples: int) -> Transfers:
    """The tables of the configured sections.

    Args:
        settings: the sections of params.yaml by name.
    """
    measured = settings["robust_transfer"]
    folders = {name: _folders(root, settings[name]) for name, root in SECTIONS.items()}
    names = list(dict.fromkeys(source for section in SECTIONS for source in settings[section].sources))
    cards = {name: files.read_json(paths(name)[1]) for name in names}
    parts = [
        read_table(folder / "runs.parquet", list(TRANSFERS)).assign(section=name) for name, found in folders.items() for folder in found
    ]
    runs = pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=[*TRANSFERS, "section"])
    attack = next(iter(measured.attacks))
    return Transfers(
        *tables_of(runs, attack, measured.max_images, resamples),
        runs=runs,
        cards=cards,
        labels={name: _label(name, card) for name, card in cards.items()},
        attack=attack,
        margin_attack=next((name for name, how in measured.attacks.items() if getattr(how, "loss", "") == "margin"), None),
        n_test=measured.max_images,
        classes={
            folder.name: card_of(folder.name).classes
            for name, root in SECTIONS.items()
            for folder in folders[name]
            if folder.parent != root
        },
        gradients=_arrays(folders["train_heads"], "gradients.npz"),
        distances=_arrays(folders["learn_without_forgetting"], "distances.npz"),
    )


def inputs_of(settings: dict[str, Any]) -> list[Path]:
    """Every folder that `load` reads."""
    return [folder for name, root in SECTIONS.items() for folder in _folders(root, settings[name])]


def _folders(root: Path, section: Any) -> list[Path]:
    return [root / source / target for source in section.sources for target in getattr(section, "targets", [""])]  # or of the source alone


def tables_of(runs: pd.DataFrame, attack: str, n_test: int, resamples: int) -> list[pd.DataFrame]:
    """The table of each section, in the order of `SECTIONS`; that of hardening has the mean of both accuracies, taken seed by seed.

    Args:
        runs: of all sections.
        attack: by which robustness is measured.
    """
    of_run = [*BY[:-1], "seed"]
    hardened = runs[runs["section"] == "harden"]
    both = hardened[hardened["measure"].isin(["clean", attack])].groupby(["section", *of_run], sort=False, as_index=False)["value"].mean()
    runs = pd.concat([runs, both.assign(measure=BOTH)], ignore_index=True) if len(both) else runs
    return [_summarised(runs[runs["section"] == name], n_test, resamples) for name in SECTIONS]


def _summarised(rows: pd.DataFrame, n_test: int, resamples: int) -> pd.DataFrame:
    """A row for each run but for its seed, and measure: mean, low, high, n (seeds)."""
    found = []
    for key, values in rows.groupby(BY, sort=False, observed=True)["value"]:
        mean, low, high = statistics.interval(values.to_numpy(), resamples)
        if len(values) == 1 and key[-1] not in NOT_ACCURACY:
            low, high = statistics.wilson(mean, n_test)
        found.append((*map(_plain, key), mean, low, high, len(values)))
    return pd.DataFrame(found, columns=[*BY, "mean", "low", "high", "n"])


def _plain(value: Any) -> Any:
    return float(value) if isinstance(value, float) else str(value)


def _arrays(folders: Sequence[Path], name: str) -> dict[tuple[str, str], dict[str, np.ndarray]]:
    return {(folder.parent.name, folder.name): read_arrays(folder / name) for folder in folders}


def _label(name: str, card: dict[str, Any]) -> str:
    """`natural`, or the ball; with the part of the classes, and the way of training where that is free."""
    threat, part = card["threat"], card.get("part")
    label = label_of(name, card) if threat and threat["eps"] else "natural"
    label += f", {threat['perturbation']}" if threat and str(threat.get("perturbation")).startswith("free") else ""
    return label + (f", part {part['number'] + 1} of {part['of']}" if part else "")


def value(table: pd.DataFrame, **where: Any) -> pd.Series | None:
    """The one row with these values."""
    rows = at(table, **where)
    return None if rows.empty else rows.iloc[0]
