"""One tiny piece of work of each kind that the cell store keeps: its key, and what a worker does for it.

Imports the project inside functions alone, so that whoever uses it sees what is imported when.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

MEASURED = {"norm": "linf", "eps": 0.03, "max_images": 8,
            "attacks": {"pgd20": {"kind": "pgd", "steps": 2, "step_ratio": 2.5, "random_start": True, "target": None}}}  # fmt: skip
DESCENT = {"steps": 2, "batch_size": 8, "lr": 0.05, "drops": [], "momentum": 0.9, "weight_decay": 0.0, "augmentation": "none"}
SOURCE = {"dataset": "noise", "epochs": 1, "batch_size": 16, "lr": 0.1, "momentum": 0.9, "nesterov": False, "weight_decay": 0.0, "augmentation": "none",
          "mixed_precision": False}  # fmt: skip


@dataclass
class Work:
    """One piece of work."""

    key: Callable[[], str]
    compute: Callable[[], Any]  # in a worker
    module: str  # that computes it, all of which must be in the key


def prepare(folder: Path) -> None:
    """Images `noise` and the source `src`, of random values, below the folder, which is the current one."""
    import numpy as np
    import torch

    from stages.lib.datasets import sets
    from stages.lib.networks import sources, units
    from stages.lib.store import files

    rng = np.random.default_rng(0)
    splits = {}
    for split, n in (("train", 40), ("test", 20)):
        x = rng.integers(0, 256, (n, 16, 16, 3), dtype=np.uint8)
        splits[split] = {"n": n, "sha256": sets.save(folder / sets.IMAGES / "noise", split, x, np.arange(n) % 4)}
    images = sets.DatasetCard(
        name="noise", classes=4, channels=3, image_size=16, stored_size=16, mean=[0.5] * 3, std=[0.25] * 3, splits=splits
    )
    files.write_json(folder / sets.IMAGES / "noise/card.json", images.model_dump())
    torch.manual_seed(0)
    weights = units.build("small_resnet", 4, [0.5] * 3, [0.25] * 3).state_dict()
    card = sources.SourceCard(name="src", kind="trained", architecture="small_resnet", classes=4, dataset="noise", threat=None, origin="", sha256="",
                        mean=[0.5] * 3, std=[0.25] * 3, accuracy={"test": 25.0})  # fmt: skip
    sources.save(card, weights)


def source() -> Work:
    from stages.lib.runs import pretraining
    from stages.lib.settings import catalog, sections

    entry = catalog.Trained(kind="trained", architecture="small_resnet", dataset="noise", seeds=[0], threat={"norm": "l2", "eps": 0.5})
    settings = sections.SourceSettings(
        **SOURCE, schedule={"kind": "one_cycle", "warmup": 0.25}, processes=1, n_models=1,
        attack={"steps": 2, "step_ratio": 2.5, "eps_hold": 0.1, "eps_ramp": 0.4},
    )  # fmt: skip

    def compute() -> None:
        from stages.lib.runs.work import train_source

        network = train_source.start(entry, "noise", 0)
        perturbation = pretraining.perturbation_of(entry, settings).model_dump()
        train_source.train(network, entry, 0, settings.model_dump(), perturbation, start_from=None, after_epoch=lambda done, state: None)

    return Work(lambda: pretraining.key_of(entry, 0, settings), compute, "stages.lib.runs.work.train_source")


def _plan() -> Any:
    import numpy as np

    from stages.lib.datasets.sets import card_of
    from stages.lib.networks import sources
    from stages.lib.runs import grid
    from stages.lib.settings import sections

    settings = sections.FinetuneSettings(
        batch_size=16, lr=0.05, momentum=0.9, weight_decay=0.0, frozen_batchnorm="source", head_init="default", normalisation="source",
        augmentation="none", augment_grey=False, resolution=None, mixed_precision=False, epochs=1, eval_every=1,
        keep={"blocks": [1], "n_images": [20], "n_seeds": 1},
    )  # fmt: skip
    job, drawn = grid.job_of(sources.card_of("src"), card_of("noise"), settings), {"20_1": np.arange(20)}
    planned = grid.plan(job, [1], drawn, lambda n: (1, 1))
    return grid.Plan(job, planned, drawn, planned)


def _entry(job: Any) -> Any:
    import numpy as np

    from stages.lib.runs import activations

    return activations.entry_of(job, 1, "train", 40, np.arange(20))


def finetune() -> Work:
    from stages.lib.runs import computing
    from stages.lib.runs.jobs import Batch, Request

    plan = _plan()
    batch = Batch(plan.job, [Request(plan.cells[0], plan.drawn["20_1"], weights=True)], {"train": _entry(plan.job).stored})
    return Work(lambda: _plan().cells[0].key, lambda: computing._work(batch), "stages.lib.runs.work.finetune")


def activations() -> Work:
    from stages.lib.runs import computing

    job = _plan().job
    entry = _entry(job)

    def compute() -> None:
        computing._write((job, entry, (40, *computing._shape_of((job, entry)))))

    return Work(lambda: _entry(job).key, compute, "stages.lib.runs.work.frozen")


def _evaluation(name: str) -> Work:
    from stages import evaluate_robustness
    from stages.lib.datasets import sets
    from stages.lib.networks import sources
    from stages.lib.runs.attacked import AttackedNetwork, Evaluation, OtherNetwork

    def asked() -> Evaluation:
        network = AttackedNetwork(sources.pretrained_of(sources.card_of("src")), "noise")
        train = sets.card_of("noise").splits["train"].sha256
        other = OtherNetwork(network.source, own_head=False, train=train) if name == "checks" else None
        return Evaluation(network, "linf", name, [MEASURED["attacks"]["pgd20"]], [0.0, 0.03], 8, 4, other)

    return Work(lambda: asked().key, lambda: evaluate_robustness.compute(asked()), asked().module)


def attack() -> Work:
    return _evaluation("pgd20")


def checks() -> Work:
    return _evaluation("checks")


def features() -> Work:
    from stages.lib.networks import sources
    from stages.studies.shafahi2020.experiments import features as stored

    def wanted() -> stored.Features:
        return stored.Features(sources.pretrained_of(sources.card_of("src")), "noise")

    return Work(lambda: wanted().key, lambda: stored._work(wanted()), stored.MODULE)


def _experiment(stage: str, method: str, setting: float, how: dict) -> Work:
    from stages.lib.networks import sources
    from stages.lib.runs import experiments
    from stages.lib.store import cells
    from stages.studies.shafahi2020.experiments import features as stored

    module = f"stages.studies.shafahi2020.experiments.{stage}"

    def run() -> experiments.Run:
        return experiments.Run(stage, "src", "noise", method, setting, 0, how, MEASURED, module)

    def compute() -> None:
        pretrained = sources.pretrained_of(sources.card_of("src"))
        path = cells.path_of("features", stored.Features(pretrained, "noise").key, ".safetensors")
        experiments._work(experiments.Assignment(run(), pretrained, path))

    return Work(lambda: run().key, compute, module)


def retrain() -> Work:
    return _experiment("retrain", "retrained", 1, DESCENT)


def train_heads() -> Work:
    return _experiment("train_heads", "plain", 1, {"dropout": 0.0, "batchnorm": True, "training": DESCENT, "gradients": 2})


def harden() -> Work:
    attack = {"norm": "linf", "eps": 0.03, "steps": 2, "step_ratio": 1.8, "replay": None}
    return _experiment("harden", "finetuned", 2, {"training": DESCENT, "attack": attack, "pieces": 1})


def learn_without_forgetting() -> Work:
    return _experiment(
        "learn_without_forgetting", "lwf", 0.1, {"distance": "l1", "batchnorm": "affine", "training": DESCENT, "warm_start": 0.5}
    )


def _things() -> None:
    """A set of two scenes with an object each."""
    import io

    import numpy as np
    from PIL import Image
    from pycocotools import mask

    from stages.lib.datasets import sets
    from stages.lib.datasets.objects import scenes
    from stages.lib.store import files

    file, seen, no = io.BytesIO(), np.zeros((32, 32), np.uint8, order="F"), np.zeros(1, bool)
    Image.new("RGB", (32, 32), "red").save(file, "PNG")
    seen[8:20, 6:24] = 1
    objects = scenes.Objects(np.zeros(1, np.int64), np.array([[6, 8, 24, 20]], np.float32), no, no, [mask.encode(seen)["counts"]])
    folder, listed = sets.IMAGES / "things", [scenes.Scene(file.getvalue(), 32, 32, objects)] * 2
    splits = {split: {"n": 2, "sha256": scenes.save(folder, split, listed)} for split in ("train", "test")}
    card = sets.DatasetCard(name="things", classes=2, channels=3, image_size=32, stored_size=32, mean=None, std=None, splits=splits)
    files.write_json(folder / "card.json", card.model_dump())


def detect() -> Work:
    from detection import TASK

    from stages.lib.networks import sources
    from stages.lib.runs import experiments
    from stages.studies.salman2020.detection.runs import MODULE

    how = TASK | {"shorter": [32], "longest": 32, "pictures": 1}
    _things()

    def run() -> experiments.Run:
        return experiments.Run("detect", "src", "things", "shapes", 0, 0, how, {}, MODULE)

    def compute() -> None:
        experiments._work(experiments.Assignment(run(), sources.pretrained_of(sources.card_of("src")), None))

    return Work(lambda: run().key, compute, MODULE)


def _optimised(name: str, method: str, setting: float, **how: object) -> Work:
    """A run on images that are optimised, with the source itself as their judge."""
    from stages.lib.networks import sources
    from stages.lib.runs import experiments

    module, pretrained = f"stages.studies.utrera2021.features.{name}", sources.pretrained_of(sources.card_of("src"))
    descent = {"steps": 2, "step_size": 0.1, "decay": True, "unit": True, "norm": "l2", "eps": 0.5}

    def run() -> experiments.Run:
        all_of_it = {"descent": descent, "start_std": 0.05, "pictures": 2} | how
        return experiments.Run(name, "src", "noise", method, setting, 0, all_of_it, {}, module, others=(pretrained,))

    def compute() -> None:
        experiments._work(experiments.Assignment(run(), pretrained, None))

    return Work(lambda: run().key, compute, module)


def visualise() -> Work:
    return _optimised("visualise", "features", 0, features=[0, 3], n_starts=2, from_noise=False)


def invert() -> Work:
    return _optimised("invert", "effective", 0.01, n_images=4, start="noise", on="inversion", prior_std=0.1, images=4)


KINDS: dict[str, tuple[str, Callable[[], Work]]] = {
    "source": ("stages.lib.runs.pretraining", source),
    "activations": ("stages.lib.runs.computing", activations),
    "finetune": ("stages.lib.runs.computing", finetune),
    "attack": ("stages.evaluate_robustness", attack),
    "checks": ("stages.evaluate_robustness", checks),
    "features": ("stages.studies.shafahi2020.experiments.features", features),
    "retrain": ("stages.lib.runs.experiments", retrain),
    "train_heads": ("stages.lib.runs.experiments", train_heads),
    "harden": ("stages.lib.runs.experiments", harden),
    "learn_without_forgetting": ("stages.lib.runs.experiments", learn_without_forgetting),
    "detect": ("stages.lib.runs.experiments", detect),
    "visualise": ("stages.lib.runs.experiments", visualise),
    "invert": ("stages.lib.runs.experiments", invert),
}
"""Each kind with the module that a worker begins in; those of later kinds use what earlier ones have stored."""
