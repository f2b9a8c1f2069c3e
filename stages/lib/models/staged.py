"""Kept fine-tuned models on their way to the tracking store: set down beside the results that they belong to, and sent from there.

They wait as links to the files that hold their weights, which take no room, as the store may be away, and a temporary workspace may be
gone when it is back.
"""

import os
import shutil
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
import pandas as pd

from stages.lib.datasets import sets
from stages.lib.errors import RunError
from stages.lib.models import alone, kept
from stages.lib.models import card as cards
from stages.lib.models.card import Card
from stages.lib.norms.table import norm_of
from stages.lib.store import files
from stages.lib.store.tables import WORST

if TYPE_CHECKING:
    from stages.lib.models import logged
    from stages.lib.store.tracking import Store

SAMPLE = "sample.npy"
PARAMS = ("source", "blocks", "n_images", "seed", "architecture", "image_size")  # of the card, beside its target


def stage(folder: Path, sources: list[str], targets: list[str], which: Literal["best", "all"]) -> None:
    """Set down the kept models of these sources and targets, or the best of each target alone, each in a folder named by its run."""
    best = {
        cards.read(path.parent).cell: path.parent.name for path in sorted(kept.BEST.glob(f"*/{cards.CARD}")) if path.parent.name in targets
    }
    for model in (model for source in sources for target in targets for model in kept.kept_of(source, target)):
        card, weights = kept.tuned_parts(model)
        if which == "all" or card.cell in best:
            place = folder / card.cell
            for i, path in enumerate(weights):
                link(path, place / f"{i}.safetensors")
            files.save_array(place / SAMPLE, sample_of(model.target, card))
            files.write_json(place / "best.json", best.get(card.cell))
            files.write_bytes(place / cards.CARD, card.text().encode())  # last: with it, the model is whole


def link(source: Path, target: Path) -> None:
    """Another name for a file, or a copy where the file system has no links."""
    target.parent.mkdir(parents=True, exist_ok=True)
    target.unlink(missing_ok=True)
    try:
        os.link(source.resolve(), target)
    except OSError:
        shutil.copy2(source, target)


def sample_of(target: str, card: Card) -> np.ndarray:
    """The first test image, uint8 [1, side, side, channels]; a black one where images are not at hand."""
    with suppress(RunError):
        return np.asarray(sets.load(target, "test")[0][:1])
    return np.zeros((1, card.image_size, card.image_size, card.channels), np.uint8)


def send(store: "Store", run_id: str, place: Path, robustness: Path, register: str | None) -> None:
    """Send a model that was set down, where the store does not hold it; the best of a target is tagged, and registered under a name.

    Args:
        run_id: the run that the model is an output of.
        robustness: the table of accuracies under attack.
        register: the first part of its name in the registry, the target being the second; None: it is not registered.
    """
    from stages.lib.models import logged  # here, as it takes seconds to import, and most often there is nothing to send

    card, target = cards.read(place), files.read_json(place / "best.json")
    model = logged.find(store, card.cell)
    if model is None:
        with tempfile.TemporaryDirectory() as folder:
            kept.save(Path(folder), card, kept.merged(sorted(place.glob("*.safetensors"))))
            asked = asked_of(card, Path(folder), np.load(place / SAMPLE), under_attack(card, robustness))
            model = logged.send(store, run_id, asked)
    if target:
        logged.name_best(store, model, target, register and f"{register}-{target}")


def asked_of(card: Card, folder: Path, sample: np.ndarray, metrics: dict[str, float]) -> "logged.Model":
    """A fine-tuned model as it is sent.

    Args:
        folder: its card and weights, and nothing else.
        sample: an example of its input.
        metrics: beside its accuracy on the test images.
    """
    from stages.lib.models import logged

    return logged.Model(
        name=name_of(card), cell=card.cell, folder=folder, loader=alone.LOADERS["torch"], code=alone.code_of(card.architecture),
        sample=sample, params={"target": card.dataset} | {name: str(getattr(card, name)) for name in PARAMS},
        metrics={"test_accuracy": card.test_accuracy} | metrics, step=card.epochs, dataset=(card.dataset, card.images_sha256["test"]),
    )  # fmt: skip


def name_of(card: Card) -> str:
    """Its name in MLflow, which takes no slash, dot or colon."""
    return f"{card.dataset}-{card.source}-{card.blocks}-{card.n_images}-{card.seed}"


def under_attack(card: Card, robustness: Path) -> dict[str, float]:
    """Accuracy under the worst of the attacks at each radius, as `under_attack/linf_8_255`; none where it was not attacked."""
    if not robustness.is_file():
        return {}
    attacked = pd.read_csv(robustness, dtype={"blocks": str})
    run = {"model": "finetuned", "attack": WORST, "source": card.source, "dataset": card.dataset, "blocks": card.blocks,
           "n_images": card.n_images, "seed": card.seed}  # fmt: skip
    rows = attacked[(attacked[list(run)] == pd.Series(run)).all(axis=1) & (attacked["eps"] > 0)]
    return {metric_of(row.norm, row.eps): row.accuracy for row in rows.itertuples()}


def metric_of(norm: str, eps: float) -> str:
    """The name of an accuracy under attack; eps in pixel units of [0, 1] images."""
    return f"under_attack/{norm}_{norm_of(norm).number(eps).replace('/', '_')}"
