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


def _plan(source: str = "src") -> Any:
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
    job, drawn = grid.job_of(sources.card_of(source), card_of("noise"), settings), {"20_1": np.arange(20)}
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


def finetune_timm() -> Work:
    """The same of a network of timm, whose name a worker enters in its table of families as it is sent the name."""
    import pickle

    import torch

    from stages.lib.networks import sources, units
    from stages.lib.networks.names import known
    from stages.lib.runs import computing
    from stages.lib.runs.jobs import Batch, Request

    torch.manual_seed(0)
    name, moments = known("timm/test_vit@32"), {"mean": [0.5] * 3, "std": [0.25] * 3}
    card = sources.SourceCard(name="timm", kind="fetched", architecture=name, classes=4, dataset="noise", threat=None, origin="", sha256="",
                        accuracy={}, **moments)  # fmt: skip
    sources.save(card, units.build(name, 4, *moments.values()).state_dict())
    plan = _plan("timm")
    batch, sent = Batch(plan.job, [Request(plan.cells[0], plan.drawn["20_1"], weights=True)], {}), pickle.dumps(name)

    def compute() -> None:
        pickle.loads(sent)
        computing._work(batch)

    return Work(lambda: _plan("timm").cells[0].key, compute, "stages.lib.runs.work.finetune")


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


def _distance() -> tuple:
    from stages.lib.networks import sources
    from stages.studies.terzi2021.distance import means, runs
    from stages.studies.terzi2021.distance.settings import MeasureDistanceSettings

    [run] = runs.measure_distance(MeasureDistanceSettings(sources=["src"], targets=["noise"], least=1), sources.card_of)
    return run, means.means_of_model("src", 0, None)


def class_means() -> Work:
    from stages.studies.terzi2021.distance import means

    return Work(lambda: _distance()[1].key, lambda: means._work(_distance()[1]), means.MODULE)


def measure_distance() -> Work:
    from stages.lib.runs import experiments
    from stages.studies.terzi2021.distance import runs

    def compute() -> None:
        run, own = _distance()
        experiments._work(experiments.Assignment(run, own.source, own.path))

    return Work(lambda: _distance()[0].key, compute, runs.MODULE)


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


def information() -> Work:
    """All three methods, of which the key of the first stands for all: their runs differ by their settings alone."""
    from dataclasses import replace

    from stages.lib.networks import sources
    from stages.lib.runs import experiments
    from stages.studies.terzi2021.information.runs import MODULE

    def run() -> experiments.Run:
        how = {"images": 8, "labels": 1, "beta": 1e-6, "prior_std": 1.0}
        return experiments.Run("information", "src", "noise", "weights", 0, 0, how, {}, MODULE)

    def compute() -> None:
        separation = {"neighbours": {"k": 2, "images": 40}, "map": {"images": 12, "perplexity": 3}}
        for method, how in (("weights", run().how), ("representation", {"images": 4, "probes": 1}), ("separation", separation)):
            experiments._work(
                experiments.Assignment(replace(run(), method=method, how=how), sources.pretrained_of(sources.card_of("src")), None)
            )

    return Work(lambda: run().key, compute, MODULE)


def influence() -> Work:
    from stages.lib.networks import sources
    from stages.lib.runs import experiments
    from stages.studies.utrera2021.influence.runs import MODULE

    finetune = {"epochs": 1, "batch_size": 8, "lr": 0.05, "momentum": 0.9, "weight_decay": 0.0, "head_init": "normal",
                "frozen_batchnorm": "source", "augmentation": "none", "moments": None}  # fmt: skip
    how = {"blocks": 1, "n_images": 20, "method": "choice", "cuts": [0.05], "damping": [0.01], "ranks": 5, "memory": 1 << 28,
           "finetune": finetune, "pictures": True}  # fmt: skip

    def run() -> experiments.Run:
        return experiments.Run("influence", "src", "noise", "finetuned", 20, 0, how, {}, MODULE)

    def compute() -> None:
        experiments._work(experiments.Assignment(run(), sources.pretrained_of(sources.card_of("src")), None))

    return Work(lambda: run().key, compute, MODULE)


def clash(folder: Path) -> None:
    """The cue-conflict set `clash` of the classes of `noise`, below the folder."""
    import numpy as np

    from stages.lib.datasets import sets
    from stages.lib.store import files

    x = np.random.default_rng(1).integers(0, 256, (24, 16, 16, 3), dtype=np.uint8)
    y = np.stack([np.arange(24) % 4, (np.arange(24) + 1 + np.arange(24) // 4 % 3) % 4], 1)
    splits = {"test": {"n": 24, "sha256": sets.save(folder / sets.IMAGES / "clash", "test", x, y)}}
    card = sets.DatasetCard(
        name="clash", classes=4, channels=3, image_size=16, stored_size=16, mean=None, std=None, splits=splits, class_names=[*"abcd"]
    )
    files.write_json(folder / sets.IMAGES / "clash/card.json", card.model_dump())


TUNING = {"n_images": 16, "epochs": 1, "batch_size": 8, "lr": 0.05, "momentum": 0.9, "weight_decay": 0.0, "head_init": "default",
          "frozen_batchnorm": "source", "augmentation": "none"}  # fmt: skip


def _on_shape(stage: str, target: str, how: dict, also: str | None = None) -> Work:
    from stages.lib.networks import sources
    from stages.lib.runs import experiments

    module = f"stages.studies.utrera2021.shape.experiments.{stage}"
    clash(Path())

    def run() -> experiments.Run:
        return experiments.Run(stage, "src", target, "tried", 1, 0, how, {}, module, also=also)

    def compute() -> None:
        experiments._work(experiments.Assignment(run(), sources.pretrained_of(sources.card_of("src")), None))

    return Work(lambda: run().key, compute, module)


def shape_bias() -> Work:
    return _on_shape("shape_bias", "noise", {"finetuning": TUNING, "blocks": 1}, also="clash")


def texture_attack() -> Work:
    attack = {"kind": "pgd", "norm": "l2", "steps": 3, "step_ratio": 2.5, "random_start": False}
    return _on_shape("texture_attack", "noise", {"attack": attack, "eps": [0.1], "max_images": 8})


def texture_dial() -> Work:
    return _on_shape("texture_dial", "noise", {"finetuning": TUNING, "blocks": 0})


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
    "finetune_timm": ("stages.lib.runs.computing", finetune_timm),
    "attack": ("stages.evaluate_robustness", attack),
    "checks": ("stages.evaluate_robustness", checks),
    "features": ("stages.studies.shafahi2020.experiments.features", features),
    "retrain": ("stages.lib.runs.experiments", retrain),
    "train_heads": ("stages.lib.runs.experiments", train_heads),
    "harden": ("stages.lib.runs.experiments", harden),
    "learn_without_forgetting": ("stages.lib.runs.experiments", learn_without_forgetting),
    "detect": ("stages.lib.runs.experiments", detect),
    "information": ("stages.lib.runs.experiments", information),
    "influence": ("stages.lib.runs.experiments", influence),
    "shape_bias": ("stages.lib.runs.experiments", shape_bias),
    "texture_attack": ("stages.lib.runs.experiments", texture_attack),
    "texture_dial": ("stages.lib.runs.experiments", texture_dial),
    "class_means": ("stages.studies.terzi2021.distance.means", class_means),
    "measure_distance": ("stages.lib.runs.experiments", measure_distance),
    "visualise": ("stages.lib.runs.experiments", visualise),
    "invert": ("stages.lib.runs.experiments", invert),
}
"""Each kind with the module that a worker begins in; those of later kinds use what earlier ones have stored."""
