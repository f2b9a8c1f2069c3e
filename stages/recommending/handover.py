"""The chosen model, handed over: a folder with weights and card, a logged model of the tracking store, and what it gets wrong."""

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from stages.lib.datasets import sets, subsets
from stages.lib.models import card as cards
from stages.lib.models import kept, staged
from stages.lib.progress import log
from stages.lib.report.binomial import wilson
from stages.lib.runs.grid import Cell
from stages.recommending.workspace import Workspace

MOST_WRONG = 24  # images that are shown


@dataclass(frozen=True)
class Looked:
    """What the model says of the final images."""

    confusion: np.ndarray  # int64 [classes, classes], true class by given class
    wrong: list[dict[str, Any]]  # row, true, given, probability; the surest first
    n_parameters: int


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


def look(folder: Path, target: str) -> Looked:
    """What the model in a folder says of the final images."""
    from stages.lib.models import classifier  # here, as torch takes seconds to import

    model = classifier.load(folder)
    x, y = sets.load(target, "test")
    found = model.probabilities(np.asarray(x[:]))
    given, classes = found.argmax(1), len(model.card.classes)
    confusion = np.zeros((classes, classes), np.int64)
    np.add.at(confusion, (y, given), 1)
    rows = sorted(np.flatnonzero(given != y), key=lambda i: -found[i].max())[:MOST_WRONG]
    wrong = [{"row": int(i), "true": int(y[i]), "given": int(given[i]), "probability": float(found[i].max())} for i in rows]
    return Looked(confusion, wrong, sum(weight.numel() for weight in model.model.trained.parameters()))


def send(workspace: Workspace, cell: Cell, experiment: str, register: str) -> str | None:
    """Log the model in the tracking store and register it with its data set; its address there, or None where the store is away."""
    from stages.lib.store import tracking  # here, as it takes seconds to import

    try:
        store = tracking.Store(experiment)
        run = store.run("recommend", cell.key, run_name=f"recommend {workspace.out.name}")
        folder = Path("staged")
        shutil.rmtree(folder, ignore_errors=True)
        staged.stage(folder, [cell.source], [cell.target], "best")
        for place in sorted(folder.iterdir()):
            staged.send(store, run.info.run_id, place, Path("none"), register)
        store.client.set_terminated(run.info.run_id)
        versions = store.client.search_model_versions(f"name = '{register}-{cell.target}'")
    except tracking.AWAY as error:
        log(f"warning: recommend: the model was not logged: {' '.join(str(error).split())[:200]}")
        return None
    return f"models:/{register}-{cell.target}/{max(int(version.version) for version in versions)}" if versions else None
