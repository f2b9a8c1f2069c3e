"""Clean accuracy and accuracy under PGD(k), against eps: of a source on its own data, and of models fine-tuned from it.

Reads models/sources/<source>.*, models/finetuned/<source>/<target>/weights/, data/images/ of target and source data, params.yaml:
evaluate_robustness. Writes models/robustness/<source>/<target>/: robustness.parquet, a row for each model, norm and eps,
and examples.npz, images before and after the strongest attack of each norm.
"""

from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd

from stages.lib import cells, code, command, executors, files, params, sources, subsets
from stages.lib.datasets import IMAGES, card_of, load
from stages.lib.journal import execution
from stages.lib.progress import bar, say
from stages.lib.settings import EvaluateRobustnessSettings
from stages.lib.tables import ATTACKED, ROBUSTNESS, kept_weights

NORMS = ("l2", "linf")  # keys of the section, each a list of radii
PRELOAD = ("stages.lib.robustness", "stages.lib.finetuning")
SEED = 0  # of the attacks' random starts
EXAMPLES = 8  # images of each model and norm in examples.npz


@dataclass(frozen=True)
class Model:
    """What is attacked: a source (weights None), or a source with the trained part that a cell kept."""

    source: str
    dataset: str  # whose test images are attacked
    blocks: str = ""
    n_images: int = 0
    seed: int = 0
    weights: str | None = None
    resolution: int | None = None  # to which it was fine-tuned to see images reduced

    @property
    def kind(self) -> str:
        return "finetuned" if self.weights else "source"


def main(source: str, target: str) -> None:
    settings = params.section("evaluate_robustness")
    out = ROBUSTNESS / source / target
    inputs = [*sources.paths(source), kept_weights(source, target), IMAGES / target]
    with execution("evaluate_robustness", source, target, settings=settings.model_dump(), inputs=inputs, outputs=[out]) as journal:
        models = models_of(source, target)
        keys = {(model, norm): key_of(model, norm, settings) for model in models for norm in NORMS}
        attack_missing(f"evaluate_robustness@{source}-{target}", keys, settings)
        found = {pair: cells.load("robustness", key) for pair, key in keys.items()}
        save(out, found, {pair: cells.arrays("robustness", key) for pair, key in keys.items()}, settings)
        journal.metrics({f"{model.kind}_clean_accuracy": found[model, norm]["rows"][0]["accuracy"] for model, norm in keys})


def attack_missing(title: str, keys: dict[tuple[Model, str], str], settings: EvaluateRobustnessSettings) -> None:
    """Attack each model with each norm, over a pool of processes, where the store has no result yet."""
    tasks = [(*pair, key, settings) for pair, key in keys.items() if cells.load("robustness", key, say) is None]
    with bar(title=title, total=len(keys), unit="attack") as progress, executors.workers(params.section("grid"), PRELOAD) as workers:
        progress.update(len(keys) - len(tasks))
        for _, _, error in workers.run_all(attack, tasks):
            progress.update()
            if error is not None:
                raise error


def models_of(source: str, target: str) -> list[Model]:
    """The source on its own data, where it has any, and every fine-tuned model whose weights were kept."""
    card = sources.card_of(source)
    models = [Model(source, card.dataset)] if "test" in card.accuracy and at_hand(card.dataset) else []
    kept = kept_weights(source, target)
    resolution = files.read_json(kept / "settings.json")["resolution"]
    for path in sorted(kept.glob("*.safetensors")):
        blocks, subset = path.stem.split("_", 1)
        models.append(Model(source, target, blocks, *subsets.parts_of(subset), str(path), resolution))
    return models


def at_hand(dataset: str) -> bool:
    """Whether its test images are: a set may be left out, or be a folder that is not on this machine."""
    return (IMAGES / dataset / "card.json").is_file() and "test" in card_of(dataset).splits


def key_of(model: Model, norm: str, settings: EvaluateRobustnessSettings) -> str:
    return files.digest_of({
        "source": sources.card_of(model.source).sha256, "weights": model.weights and files.sha256_of(Path(model.weights)),
        "data": card_of(model.dataset).splits["test"].sha256,
        "resolution": model.resolution, "norm": norm, "radii": getattr(settings, norm),
        "settings": settings.model_dump(exclude=set(NORMS)), "seed": SEED, "examples": EXAMPLES,
        "code": code.digest("stages.lib.robustness", "stages.lib.finetuning"), "torch": code.torch_version(),
    })  # fmt: skip


def attack(task: tuple[Model, str, str, EvaluateRobustnessSettings]) -> None:
    """In a worker: attack one model within one norm at every radius, and keep the result."""
    from stages.lib import images, robustness, training  # here, as torch takes seconds to import

    model, norm, key, settings = task
    device, radii = training.best_device(), getattr(settings, norm)
    network = network_of(model).to(device)
    x, y = (array[: settings.max_images] for array in load(model.dataset, "test"))
    see = partial(images.prepare, device=device, size=card_of(model.dataset).image_size, resolution=model.resolution)
    pgd = {"see": see, "norm": norm, "steps": settings.attack.steps, "step_ratio": settings.attack.step_ratio, "seed": SEED}
    rows = [asdict(row) for row in robustness.accuracy_against_eps(network, x, y, radii=radii, **pgd)]
    shown = asdict(robustness.examples(network, x[:EXAMPLES], y[:EXAMPLES], eps=max(radii), **pgd)) if radii else {}
    cells.save("robustness", key, {"rows": rows}, as_tensors(shown))


def network_of(model: Model) -> object:
    """The attacked network: the source, with the trained part of the cell in place where there is one."""
    from stages.lib import finetuning, networks  # here, as torch takes seconds to import

    if model.weights is None:
        return sources.load(model.source)
    card = sources.card_of(model.source)
    weights = files.read_tensors(sources.paths(model.source)[0]) if card.kind != "random" else None
    network = finetuning.start(card.architecture, weights, card_of(model.dataset).classes, "default", seed=model.seed)
    trained = network if model.blocks == "all" else networks.split(network, int(model.blocks))[1]
    kept = files.read_tensors(Path(model.weights))
    networks.load(trained, {name: kept[name] for name in trained.state_dict() if name in kept})  # none of them is missing
    networks.load(network, network.state_dict() | kept)
    return network.eval()


def as_tensors(arrays: dict[str, np.ndarray]) -> dict:
    import torch  # here, as torch takes seconds to import

    return {name: torch.from_numpy(np.array(array)) for name, array in arrays.items()}


def save(out: Path, found: dict[tuple, dict], pictures: dict[tuple, dict], settings: EvaluateRobustnessSettings) -> None:
    """Table and pictures; of the fine-tuned models the first one is shown."""
    rows = [
        {"model": model.kind, "attack": f"pgd{settings.attack.steps}", **asdict(model), **row}
        for (model, _), result in found.items()
        for row in result["rows"]
    ]
    files.write_parquet(out / "robustness.parquet", pd.DataFrame(rows, columns=[*ATTACKED]).astype(ATTACKED))
    shown = {(model.kind, norm): pictures[model, norm] for model, norm in reversed(pictures)}
    arrays = {f"{kind}_{norm}_{name}": array for (kind, norm), part in shown.items() for name, array in part.items()}
    with files.replacing(out / "examples.npz") as temporary, open(temporary, "wb") as file:
        np.savez(file, **arrays)


if __name__ == "__main__":
    command.run(main, __doc__, "source", "target")
