"""Accuracy under attack against eps, image by image: of a source on its own data, and of models fine-tuned from it.

Reads models/sources/<source>.*, models/finetuned/<source>/<target>/weights/, data/images/ of target and source data, params.yaml:
evaluate_robustness. Writes models/robustness/attacked/<source>/<target>/: robustness.parquet, a row for each model, attack, norm and eps,
images.parquet, the same of each image, checks.parquet, whether these figures can be trusted, and examples.npz, images before and
after the first attack of each norm, at its largest eps.
"""

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from functools import partial
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd

from stages.lib import command
from stages.lib.datasets.sets import IMAGES, card_of, load_part
from stages.lib.networks import sources
from stages.lib.runs import missing
from stages.lib.runs.attacked import Model, models_of
from stages.lib.settings import params
from stages.lib.settings.robustness import EvaluateRobustnessSettings
from stages.lib.store import cells, code, files
from stages.lib.store.journal import Journal, execution
from stages.lib.store.tables import ATTACKED, ATTACKED_MODELS, CHECKS, PER_IMAGE, WORST, kept_weights

CODE = ("stages.lib.attacks.evaluation", "stages.lib.attacks.checks", "stages.lib.training.finetuning")
SEED = 0  # of the attacks' random starts
EXAMPLES = 8  # images of each model and norm in examples.npz
CHECKING = "checks"  # in the place of an attack's name


@dataclass(frozen=True, eq=False)
class Task:
    """One attack on one model within one norm at every radius; or the checks of PGD there."""

    model: Model
    norm: str
    attack: str
    settings: EvaluateRobustnessSettings

    def __str__(self) -> str:
        return f"{self.attack}, {self.norm}, {self.model.kind} {self.model.source} on {self.model.dataset}"

    @property
    def radii(self) -> list[float]:
        return sorted({0.0, *self.settings.radii(self.norm)})

    @property
    def how(self) -> dict:
        """The attack's own settings; checks are of the first PGD that the section names."""
        named = self.settings.attacks.get(self.attack) or next((a for a in self.settings.attacks.values() if a.kind == "pgd"), None)
        return named.model_dump() if named else {"kind": "pgd", "steps": 20, "step_ratio": 2.5}

    @property
    def key(self) -> str:
        images = self.settings.check_images if self.attack == CHECKING else self.settings.max_images
        return files.digest_of(self.model.contents | {
            "norm": self.norm, "radii": self.radii, "images": images, "attack": self.how, "checks": self.attack == CHECKING, "seed": SEED,
            "examples": EXAMPLES, "code": code.digest(*CODE), "torch": code.torch_version(),
        })  # fmt: skip


def main(source: str, target: str) -> None:
    settings = params.section("evaluate_robustness")
    out = ATTACKED_MODELS / source / target
    inputs = [*sources.paths(source), kept_weights(source, target), IMAGES / target]
    with execution("evaluate_robustness", source, target, settings=settings.model_dump(), inputs=inputs, outputs=[out]) as journal:
        names = [*settings.attacks, *([CHECKING] if settings.check_images else [])]
        keys = {task: task.key for task in (Task(*part, settings) for part in product(models_of(source, target), settings.norms, names))}
        missing.compute(f"evaluate_robustness@{source}-{target}", "robustness", {key: task for task, key in keys.items()}, compute,
                        settings=params.section("grid"), preload=CODE, unit="attack")  # fmt: skip
        save(out, keys, journal)


def compute(task: Task) -> None:
    """In a worker: attack, or check, and keep the result."""
    from stages.lib.attacks import checks as attack_checks
    from stages.lib.attacks import evaluation
    from stages.lib.datasets import pixels as images
    from stages.lib.networks.devices import best_device  # here, as torch takes seconds to import

    device = best_device()
    network = task.model.network().to(device)
    x, y = (np.array(array[: task.settings.max_images]) for array in load_part(task.model.dataset, "test", task.model.part))
    see = partial(images.prepare, device=device, size=card_of(task.model.dataset).image_size, resolution=task.model.resolution)
    if task.attack == CHECKING:
        right = np.flatnonzero(evaluation.predicted(network, x, see) == y)[: task.settings.check_images]
        radii, how = task.radii[1:], {name: task.how[name] for name in ("steps", "step_ratio")}
        found = attack_checks.checks(network, x[right], y[right], see=see, norm=task.norm, radii=radii, **how, seed=SEED)
        cells.save("robustness", task.key, {"checks": [asdict(check) for check in (found if len(right) and radii else ())]})
        return
    at, aim = partial(evaluation.perturbation, task.how, task.norm), evaluation.aim_of(task.how)
    standing = dict(evaluation.standing_against_eps(network, x, y, see=see, at=at, radii=task.radii, seed=SEED, aim=aim))
    kept = {"standing": np.stack(list(standing.values()))}
    if (eps := max(task.radii)) > 0:
        kept |= asdict(evaluation.examples(network, x[:EXAMPLES], y[:EXAMPLES], see=see, perturb=at(eps), eps=eps, seed=SEED, aim=aim))
    cells.save("robustness", task.key, {"radii": list(standing)}, as_tensors(kept))


def as_tensors(arrays: dict) -> dict:
    import torch  # here, as it takes seconds to import

    return {name: torch.from_numpy(np.array(array)) for name, array in arrays.items()}


def save(out: Path, keys: dict[Task, str], journal: Journal) -> None:
    """The tables, and of each kind of model the pictures of the first one."""
    rows, images, checks, pictures = [], [], [], {}
    for (model, norm), tasks in grouped(keys).items():
        arrays = {task.attack: cells.arrays("robustness", keys[task]) for task in tasks if task.attack != CHECKING}
        standing = {name: found.pop("standing") for name, found in arrays.items()}
        standing[WORST] = np.logical_and.reduce(list(standing.values()))
        for attack, stood in standing.items():
            for eps, correct in zip(tasks[0].radii, stood, strict=True):
                where = model.columns | {"attack": attack, "norm": norm, "eps": eps}
                rows.append(where | {"accuracy": 100 * correct.mean(), "n_test": len(correct)})
                images.append(pd.DataFrame(where | {"image": np.arange(len(correct)), "correct": correct}))
        checks += [model.columns | {"norm": norm} | found for task in tasks if task.attack == CHECKING
                   for found in cells.load("robustness", keys[task])["checks"]]  # fmt: skip
        for name, array in next(iter(arrays.values())).items():
            pictures.setdefault(f"{model.kind}_{norm}_{name}", array)
        journal.metrics({f"{model.kind}_clean_accuracy": 100 * standing[WORST][0].mean()})
    write(out / "robustness.parquet", pd.DataFrame(rows), ATTACKED)
    write(out / "images.parquet", pd.concat(images, ignore_index=True) if images else pd.DataFrame(), PER_IMAGE)
    write(out / "checks.parquet", pd.DataFrame(checks).rename(columns={"name": "check"}), CHECKS)
    files.write_npz(out / "examples.npz", pictures)


def grouped(tasks: Iterable[Task]) -> dict[tuple[Model, str], list[Task]]:
    found: dict[tuple[Model, str], list[Task]] = {}
    for task in tasks:
        found.setdefault((task.model, task.norm), []).append(task)
    return found


def write(path: Path, table: pd.DataFrame, columns: dict[str, str]) -> None:
    files.write_parquet(path, table.reindex(columns=[*columns]).astype(columns))


if __name__ == "__main__":
    command.run(main, __doc__, "source", "target")
