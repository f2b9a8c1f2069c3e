"""The chosen model, handed over: a folder with weights, card and the code that it runs on; what it gets wrong; and the tracking store.

| below recommend/<name>/model/ | holds |
|---|---|
| `weights.safetensors`, `card.json` | the model, as `stages.predict` takes it |
| `classify.py`, `code/` | what labels images with it where this project is not installed |
| `sample.npy` | an image as it takes them, uint8 [1, side, side, channels] |
"""

import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from stages.lib.datasets import sets, subsets
from stages.lib.errors import RunError
from stages.lib.models import alone, kept, staged
from stages.lib.models import card as cards
from stages.lib.report import reading
from stages.lib.report.binomial import wilson
from stages.lib.runs.grid import Cell
from stages.lib.settings import params
from stages.lib.store import address, files
from stages.recommending.answer import Answer
from stages.recommending.workspace import Workspace

if TYPE_CHECKING:
    from stages.lib.store.tracking import Store

MODEL = "model"  # its folder, beside the page


def take(workspace: Workspace, cell: Cell, size: int, epochs: int, learnt: np.ndarray) -> dict[str, Any]:
    """Make the model of a cell a folder to take home, `model/` beside the page; returns what the page says of it.

    Args:
        learnt: int64, places of the images that it has learnt from, as its key has them.
    """
    subsets.save(cell.target, {cell.subset: learnt})
    keep = {"blocks": [cell.blocks], "n_images": [cell.n_images], "n_seeds": 1, "unattacked": []}
    workspace.write(size, finetune={"eval_every": 0, "epochs": epochs, "keep": keep}, targets=[cell.target], blocks=[cell.blocks])
    workspace.stage("finetune", cell.source)
    found = packed(workspace.out / MODEL, kept.Kept(cell.source, cell.target, str(cell.blocks), cell.n_images, cell.seed))
    return {"folder": str((workspace.out / MODEL).relative_to(workspace.root))} | found


def packed(out: Path, chosen: kept.Kept) -> dict[str, Any]:
    """Make a fine-tuned model that was kept a folder that is all it takes to use it; returns what the page says of it."""
    card, weights = kept.tuned_model(chosen)
    shutil.rmtree(out, ignore_errors=True)
    kept.save(out, card, weights)
    alone.complete(out, card.architecture)
    files.save_array(out / staged.SAMPLE, staged.sample_of(chosen.target, card))
    low, high = wilson(card.test_accuracy, card.n_test)
    parameters, n_bytes = reading.size_of(out / cards.WEIGHTS)
    return {
        "title": card.title, "cell": card.cell, "n_images": card.n_images, "accuracy": card.test_accuracy, "low": low, "high": high,
        "n": card.n_test, "megabytes": n_bytes / 1e6, "parameters": parameters, "image_size": card.image_size, "channels": card.channels,
    }  # fmt: skip


def mistakes(folder: Path, target: str, paths: list[str]) -> tuple[np.ndarray, list[dict[str, Any]], list[str]]:
    """What the model in a folder makes of the images that no decision saw.

    Args:
        paths: of these images, in the order of the set's test images.

    Returns:
        How often it gives each class to images of each class, int64 [true, given]; each image that it gets wrong, the surest first; and an
        image of each class, one that it gets right where there is one.
    """
    from stages.lib.models import classifier  # here, as torch takes seconds to import

    model = classifier.load(folder)
    x, y = sets.load(target, "test")
    classes, probabilities = model.card.classes, model.probabilities(np.asarray(x[:]))
    given = probabilities.argmax(1)
    counts = np.zeros((len(classes),) * 2, np.int64)
    np.add.at(counts, (y, given), 1)
    wrong = [
        {"file": paths[i], "true": classes[y[i]], "given": classes[given[i]], "probability": float(probabilities[i, given[i]])}
        for i in np.flatnonzero(given != y)
    ]
    examples = []
    for label in range(len(classes)):
        of_class = np.flatnonzero(y == label)
        right = of_class[given[of_class] == label]
        examples.append(paths[(right if len(right) else of_class)[0]] if len(of_class) else "")
    return counts, sorted(wrong, key=lambda one: (-one["probability"], one["file"])), examples


def register(out: Path, answer: Answer, name: str) -> str:
    """Log the model in the tracking store, as the output of a run with its image set, and make it the newest version of a registered one.

    What is there is not sent again.

    Args:
        out: the folder of the recommendation, recommend/<name>/.
        name: of the registered model.

    Returns:
        The address under which MLflow loads the model: `models:/<name>/<version>`.

    Raises:
        RunError: where there is no model, or the store cannot be reached.
    """
    from stages.lib.store import tracking

    if not answer.model:
        raise RunError("there was no time for the model, so none is registered; the same command again goes on with it")
    try:
        return _registered(tracking.Store(params.section("track").experiment), out, answer, name)
    except tracking.AWAY as error:
        place = address.masked(address.address())
        raise RunError(
            f"{place}: the tracking store is away ({type(error).__name__}: {address.masked(error)[:200]}); the answer and the model are in "
            f"{out}, and the same command again registers it"
        ) from error


def _registered(store: "Store", out: Path, answer: Answer, name: str) -> str:
    from stages.lib.models import logged
    from stages.lib.store.tracking import Param

    card = cards.read(out / MODEL)
    run = store.run(
        "recommendation", f"{out.name}-{card.cell}", run_name=f"recommend: {out.name}",
        tags={"stage": "recommend", "folder": answer.folder},
    )  # fmt: skip
    if (model := logged.find(store, card.cell)) is None:
        asked_for = {"aim": answer.aim, "labels": answer.n_labels, "minutes": answer.minutes, "winner": answer.winner.name}
        store.log(run.info.run_id, params=[Param(key, str(value)) for key, value in asked_for.items()])
        with tempfile.TemporaryDirectory() as folder:
            for file in (cards.CARD, cards.WEIGHTS):
                staged.link(out / MODEL / file, Path(folder) / file)
            sample, attacked = np.load(out / MODEL / staged.SAMPLE), answer.model.get("under_attack", {})
            metrics = {staged.metric_of(attacked["norm"], attacked["eps"]): attacked["mean"]} if attacked else {}
            model = logged.send(store, run.info.run_id, staged.asked_of(card, Path(folder), sample, metrics))
    for file in ("index.html", "answer.json"):
        store.client.log_artifact(run.info.run_id, str(out / file))
    store.client.set_terminated(run.info.run_id)
    return f"models:/{name}/{logged.name_best(store, model, out.name, name)}"
