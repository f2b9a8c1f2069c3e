"""The chosen model, handed over: a folder with weights and card, and what it confuses."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np

from stages.lib.datasets import sets, subsets
from stages.lib.models import card as cards
from stages.lib.models import kept
from stages.lib.report.binomial import wilson
from stages.lib.runs.grid import Cell
from stages.recommending.workspace import Workspace


def take(workspace: Workspace, cell: Cell, size: int, epochs: int, learnt: np.ndarray) -> dict[str, Any]:
    """Make the model of a cell a folder to take home, `model/` beside the page; returns what the page says of it.

    Args:
        learnt: int64, places of the images that it has learnt from, as its key has them.
    """
    subsets.save(cell.target, {cell.subset: learnt})
    keep = {"blocks": [cell.blocks], "n_images": [cell.n_images], "n_seeds": 1, "unattacked": []}
    workspace.write(size, finetune={"eval_every": epochs, "epochs": epochs, "keep": keep}, targets=[cell.target], blocks=[cell.blocks])
    workspace.stage("finetune", cell.source)
    chosen = kept.Kept(cell.source, cell.target, str(cell.blocks), cell.n_images, cell.seed)
    card, weights = kept.tuned_model(chosen)
    shutil.rmtree(kept.BEST, ignore_errors=True)
    kept.save(kept.BEST / cell.target, card, weights)
    out = workspace.out / "model"
    shutil.rmtree(out, ignore_errors=True)
    shutil.copytree(kept.BEST / cell.target, out)
    low, high = wilson(card.test_accuracy, card.n_test)
    return {
        "folder": str(out.relative_to(workspace.root)), "n_images": cell.n_images, "accuracy": card.test_accuracy, "low": low, "high": high,
        "n": card.n_test, "megabytes": (out / cards.WEIGHTS).stat().st_size / 1e6, "title": card.title, "cell": card.cell,
    }  # fmt: skip


def confusion(folder: Path, target: str) -> np.ndarray:
    """How often the model in a folder gives each class to images of each class, of those that no decision saw: int64 [true, given]."""
    from stages.lib.models import classifier  # here, as torch takes seconds to import

    model = classifier.load(folder)
    x, y = sets.load(target, "test")
    counts = np.zeros((len(model.card.classes),) * 2, np.int64)
    np.add.at(counts, (y, model.probabilities(np.asarray(x[:])).argmax(1)), 1)
    return counts
