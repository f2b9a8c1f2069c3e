"""What was published on shape and texture, and beside which of our numbers it stands: where sources, images and measure are the same."""

from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from stages.lib.report.cards import Card, threat_of
from stages.lib.report.results import row_at
from stages.lib.store.tables import read_table
from stages.studies.utrera2021.shape.numbers import AS_IS_VERSION, VERSIONS, ShapeNumbers
from stages.studies.utrera2021.shape.runs import AS_IS, SHAPE_BIAS, TEXTURE_ATTACK

FOLDER = Path(__file__).parent
TEXTURE = FOLDER.parent / "published/texture.csv"
ATTACK = FOLDER / "published/texture_attack.csv"
CONFLICT = FOLDER / "published/cue_conflict.csv"
SIZE = 1200  # cue-conflict images behind the figures of Geirhos et al.
CATEGORIES = 16  # of their images
GEIRHOS = {name: f"{name} (ImageNet)" for name in ("resnet50", "resnet101", "resnet152")}  # their name of an architecture
STYLISED = {"imagenet": "trained_on_IN", "stylised_imagenet": "trained_on_SIN", "imagenet_and_stylised": "trained_on_IN_and_SIN"}


@dataclass(frozen=True)
class PublishedTexture:
    """The published tables."""

    texture: pd.DataFrame  # Tables 1a and 2 of Utrera et al.
    attack: pd.DataFrame  # Table 1b
    conflict: pd.DataFrame  # Geirhos et al. (2019), their raw answers counted

    def table1a(self, card: Card, state: str, blocks: float, numbers: ShapeNumbers) -> float | None:
        """Accuracy on Stylised ImageNet before (`as_is`) or after fine-tuning three blocks, as the caption says; None of all else."""
        if numbers.settings[SHAPE_BIAS]["stylised"] != "stylised_imagenet" or (state != AS_IS and blocks != 3):
            return None
        return self._of_source(card, f"SIN test accuracy {'before' if state == AS_IS else 'after'} fine-tuning")

    def table2(self, card: Card, target: str, version: str, blocks: str) -> float | None:
        """Accuracy on Caltech101 at a low resolution or low-passed; None of another source or target, or of it as it is."""
        if target != "caltech101_224" or blocks != "3" or version == AS_IS_VERSION:
            return None
        name = "low-res" if version == VERSIONS["low_resolution"] else "low-pass"
        rows = self.texture[self.texture["measure"].str.contains(f"Caltech101 {name}", regex=False)]
        return self._of_source(card, rows["measure"].iloc[0])

    def _of_source(self, card: Card, measure: str) -> float | None:
        """Of a ResNet-50 of ImageNet, natural or within L2 3."""
        column = _column_of(card)
        row = row_at(self.texture, measure=measure)
        return None if column is None or row is None else float(row[column])

    def table1b(self, card: Card, eps: float, numbers: ShapeNumbers) -> float | None:
        """Accuracy under PGD(3) within L2 on ImageNet, of a natural ResNet-50 by what it has learnt."""
        settings = numbers.settings[TEXTURE_ATTACK]
        theirs = settings["dataset"] == "imagenet" and settings["norm"] == "l2" and settings["steps"] == 3 and settings["step_ratio"] == 2.5
        column = STYLISED.get(card["dataset"]) if theirs and card["architecture"] == "resnet50" and card["threat"] is None else None
        rows = self.attack[abs(self.attack["eps"] - eps) < 1e-9]
        return None if column is None or rows.empty else float(rows[column].iloc[0])

    def geirhos(self, card: Card, state: str, numbers: ShapeNumbers, n_images: int) -> dict[str, float] | None:
        """Shape accuracy, texture accuracy and shape bias of a source as it is; None of another source or other images."""
        if n_images != SIZE or state != AS_IS or card["threat"] is not None:
            return None
        of_imagenet = GEIRHOS.get(card["architecture"]) if card["dataset"] == "imagenet" else None
        is_stylised = card["dataset"] == "stylised_imagenet" and card["architecture"] == "resnet50"
        row = row_at(self.conflict, model="resnet50 trained on SIN" if is_stylised else of_imagenet)
        if row is None:
            return None
        return {"shape": row["shape_accuracy"], "texture": row["texture_accuracy"], "shape_bias": row["shape_bias"]}


def _column_of(card: Card) -> str | None:
    """The column of Tables 1a and 2 of a source."""
    if card["architecture"] != "resnet50" or card["dataset"] != "imagenet":
        return None
    threat = threat_of(card)
    if not threat:
        return "natural"
    return "robust_l2_eps3" if (threat["norm"], threat["eps"]) == ("l2", 3.0) else None


def load() -> PublishedTexture:
    return PublishedTexture(
        read_table(TEXTURE, ["table", "measure", "robust_l2_eps3", "natural"]),
        read_table(ATTACK, ["eps_l2_pgd3", "trained_on_IN", "trained_on_SIN", "trained_on_IN_and_SIN"]).assign(eps=_fractions),
        read_table(CONFLICT, ["model", "n_conflict_images", "shape_accuracy", "texture_accuracy", "shape_bias"]),
    )


def _fractions(table: pd.DataFrame) -> list[float]:
    """`3/32` as a number."""
    return [int(over) / int(under) for over, under in (text.split("/") for text in table["eps_l2_pgd3"])]
