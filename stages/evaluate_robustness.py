"""Clean accuracy and accuracy under PGD(k), against eps: of a source on its own data, and of models fine-tuned from it.

Reads models/sources/<source>.*, models/finetuned/<source>/<target>/, data/images/ of target and source data, params.yaml:
evaluate_robustness. Writes models/robustness/<source>/<target>/: robustness.parquet, a row for each model, norm and eps,
and examples.npz, images before and after the strongest attack of each norm.
"""

from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from stages.lib import cells, code, command, files, params, pool, sources
from stages.lib.datasets import IMAGES, card_of, load
from stages.lib.journal import execution
from stages.lib.params import EvaluateRobustnessSettings
from stages.lib.progress import bar

FINETUNED, ROBUSTNESS = Path("models/finetuned"), Path("models/robustness")
SEED = 0  # of the attacks' random starts
EXAMPLES = 8  # images of each model and norm in examples.npz
COLUMNS = {
    "model": "string", "source": "string", "dataset": "string", "blocks": "string", "n_images": "int64", "seed": "int64",
    "attack": "string", "norm": "string", "eps": "float64", "accuracy": "float64", "n_test": "int64",
}  # fmt: skip
"""Schema of robustness.parquet; model is `source` or `finetuned`, the three after dataset are of the latter only."""


@dataclass(frozen=True)
class Model:
    """What is attacked: a source (weights None), or a source with the trained part that a cell kept."""

    source: str
    dataset: str  # whose test images are attacked
    blocks: str = ""
    n_images: int = 0
    seed: int = 0
    weights: str | None = None

    @property
    def kind(self) -> str:
        return "finetuned" if self.weights else "source"


def main(source: str, target: str) -> None:
    settings = params.section("evaluate_robustness")
    out = ROBUSTNESS / source / target
    inputs = [*sources.paths(source), FINETUNED / source / target, IMAGES / target]
    with execution("evaluate_robustness", source, target, settings=settings.model_dump(), inputs=inputs, outputs=[out]) as journal:
        models = models_of(source, target)
        keys = {model: key_of(model, settings) for model in models}
        absent = [model for model in models if cells.load("robustness", keys[model]) is None]
        with bar(title=f"evaluate_robustness@{source}-{target}", total=len(models), unit="model") as progress:
            progress.update(len(models) - len(absent))
            tasks = [(model, keys[model], settings) for model in absent]
            for _, _, error in pool.run_all(
                evaluate, tasks, processes=pool.workers(), initialise=begin, preload=("stages.lib.robustness",)
            ):
                progress.update()
                if error is not None:
                    raise error
        found = {model: cells.load("robustness", keys[model]) for model in models}
        save(out, found, {model: cells.tensors("robustness", keys[model]) for model in models}, settings)
        journal.metrics({f"{m.kind}_clean_accuracy": found[m]["rows"][0]["accuracy"] for m in models})


def models_of(source: str, target: str) -> list[Model]:
    """The source on its own data, where it has any, and every fine-tuned model whose weights were kept."""
    card = sources.card_of(source)
    at_hand = card.accuracy and (IMAGES / card.dataset / "card.json").is_file()
    models = [Model(source, card.dataset)] if at_hand else []
    for path in sorted((FINETUNED / source / target).glob("*.safetensors")):
        blocks, n_images, seed = path.stem.split("_")
        models.append(Model(source, target, blocks, int(n_images), int(seed), str(path)))
    return models


def key_of(model: Model, settings: EvaluateRobustnessSettings) -> str:
    return files.digest_of({
        "source": sources.card_of(model.source).sha256, "weights": model.weights and files.sha256_of(Path(model.weights)),
        "data": card_of(model.dataset).splits["test"].sha256, "settings": settings.model_dump(),
        "code": code.digest("stages.lib.robustness", "stages.lib.networks"), "seed": SEED, "examples": EXAMPLES,
    })  # fmt: skip


def begin() -> None:
    """In a worker, before its first model."""
    import torch  # here, as the parent needs none of it

    torch.set_num_threads(1)


def evaluate(task: tuple[Model, str, EvaluateRobustnessSettings]) -> None:
    """In a worker: attack one model with every norm and eps, and keep the result."""
    from stages.lib import robustness  # here, as torch takes seconds to import

    model, key, settings = task
    network = network_of(model)
    x, y = (array[: settings.max_images] for array in load(model.dataset, "test"))
    attack = {"steps": settings.attack.steps, "step_ratio": settings.attack.step_ratio, "seed": SEED}
    rows, pictures = [], {}
    for norm, radii in (("l2", settings.l2), ("linf", settings.linf)):
        rows += [asdict(row) for row in robustness.accuracy_against_eps(network, x, y, norm=norm, radii=radii, **attack)]
        if radii:
            shown = robustness.examples(network, x[:EXAMPLES], y[:EXAMPLES], norm=norm, eps=max(radii), **attack)
            pictures |= {f"{norm}_{name}": np.asarray(value) for name, value in asdict(shown).items()}
    cells.save("robustness", key, {"rows": rows}, as_tensors(pictures))


def network_of(model: Model) -> object:
    """The attacked network: the source, with the trained part of the cell in place where there is one."""
    from stages.lib import finetuning, networks  # here, as torch takes seconds to import

    if model.weights is None:
        return sources.load(model.source)
    card = sources.card_of(model.source)
    weights = files.read_tensors(sources.paths(model.source)[0]) if card.kind != "random" else None
    network = finetuning.start(card.architecture, weights, card_of(model.dataset).classes, "default", seed=model.seed)
    trained = network if model.blocks == "all" else networks.split(network, int(model.blocks))[1]
    networks.load(trained, files.read_tensors(Path(model.weights)))
    return network.eval()


def as_tensors(arrays: dict[str, np.ndarray]) -> dict:
    import torch  # here, as torch takes seconds to import

    return {name: torch.from_numpy(np.ascontiguousarray(array)) for name, array in arrays.items()}


def save(out: Path, found: dict[Model, dict], pictures: dict[Model, dict], settings: EvaluateRobustnessSettings) -> None:
    attack = f"pgd{settings.attack.steps}"
    rows = [{"model": m.kind, "attack": attack, **asdict(m), **row} for m in found for row in found[m]["rows"]]
    table = pd.DataFrame(rows, columns=[*COLUMNS]).astype(COLUMNS)
    files.write_parquet(out / "robustness.parquet", table)
    shown = {m.kind: m for m in reversed(pictures)}  # the source, and the first of the fine-tuned models
    arrays = {f"{kind}_{name}": tensor.numpy() for kind, m in shown.items() for name, tensor in pictures[m].items()}
    with files.replacing(out / "examples.npz") as temporary, open(temporary, "wb") as file:
        np.savez(file, **arrays)


if __name__ == "__main__":
    command.run(main, __doc__, "source", "target")
