"""The runs of each experiment of Shafahi et al. (ICLR 2020), as its section of params.yaml asks for them."""

from collections.abc import Iterable
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from stages.lib.runs.experiments import Run
from stages.lib.settings.sections import GridSettings
from stages.lib.store import cells
from stages.studies.shafahi2020.experiments import features
from stages.studies.shafahi2020.settings import (
    REFERENCES,
    HardenSettings,
    LearnWithoutForgettingSettings,
    OnTargets,
    RetrainSettings,
    TrainHeadsSettings,
)
from stages.studies.study import CardOf

RETRAIN, TRAIN_HEADS, HARDEN = "retrain", "train_heads", "harden"
LEARN_WITHOUT_FORGETTING = "learn_without_forgetting"
FOLDER = "stages.studies.shafahi2020.experiments"


def retrain(settings: RetrainSettings, card_of: CardOf) -> list[Run]:
    """Each source as it is (k = 0), then with its last k pieces drawn anew, from each seed."""
    runs = []
    for card in map(card_of, settings.sources):
        run = partial(
            Run, experiment=RETRAIN, module=f"{FOLDER}.retrain", source=card.name, target=card.dataset, part=card.part,
            how=settings.training.model_dump(), measured=settings.measured.model_dump(),
        )  # fmt: skip
        runs.append(run(method="source", setting=0, seed=0))
        runs += [run(method="retrained", setting=k, seed=seed) for k in settings.k for seed in range(settings.n_seeds)]
    return runs


def train_heads(settings: TrainHeadsSettings, card_of: CardOf) -> list[Run]:
    """Heads of each kind and number of hidden layers; the first kind from the first seed keeps gradients as pictures."""
    runs = []
    for run in _on_targets(TRAIN_HEADS, settings):
        for place, (name, kind) in enumerate(settings.kinds.items()):
            for hidden in [h for h in settings.hidden if h or not place]:  # without hidden layers all kinds are one
                for seed in range(settings.n_seeds):
                    gradients = 0 if place or seed else settings.gradients
                    how = kind.model_dump() | {"training": settings.training.model_dump(), "gradients": gradients}
                    runs.append(run(method=name, setting=hidden, seed=seed, how=how))
    return runs


def harden(settings: HardenSettings, card_of: CardOf) -> list[Run]:
    """Three ways to a robust model, at each number of images of a class; the longest trainings first."""
    attack = settings.attack.model_dump()
    ways = {
        "adversarial": {"training": settings.from_scratch.model_dump(), "attack": attack},
        "finetuned": {"training": settings.adversarial_finetuning.model_dump(), "attack": attack, "pieces": settings.pieces},
        "transferred": {"training": settings.natural_head.model_dump()},
    }
    return [
        run(method=name, setting=n, seed=seed, how=how)
        for run in _on_targets(HARDEN, settings)
        for n in sorted(settings.n_per_class, reverse=True)
        for name, how in ways.items()
        for seed in range(settings.n_seeds)
    ]


def learn_without_forgetting(settings: LearnWithoutForgettingSettings, card_of: CardOf) -> list[Run]:
    """The sweep over lambda_d in each way; `frozen` trains the head alone, as the first way does; `source`, on its own data, is it."""
    runs, ways, seeds = [], {name: way.model_dump() for name, way in settings.ways.items()}, range(settings.n_seeds)
    for source, target in product(settings.sources, settings.targets):
        run, card = _on_target(LEARN_WITHOUT_FORGETTING, settings, source, target), card_of(source)
        for name, how in ways.items():
            runs += [run(method=name, setting=value, seed=seed, how=how) for value in settings.lambda_d for seed in seeds]
        head = {"training": next(iter(ways.values()))["training"]}
        runs += [run(method="frozen", setting=0, seed=seed, how=head) for seed in seeds]
        if card.dataset == target and card.part is None:
            runs.append(run(method="source", setting=0, seed=0, how={}))
        if settings.histogram_images:
            runs.append(run(method="distance", setting=0, seed=0, how={"images": settings.histogram_images}))
    return runs


def _on_targets(experiment: str, settings: OnTargets) -> Iterable[partial]:
    """Constructors of runs, one for each source on each target."""
    return [_on_target(experiment, settings, *pair) for pair in product(settings.sources, settings.targets)]


def _on_target(experiment: str, settings: OnTargets, source: str, target: str) -> partial:
    module, measured = f"{FOLDER}.{experiment}", settings.measured.model_dump()
    return partial(Run, experiment=experiment, module=module, source=source, target=target, measured=measured)


def store_features(runs: list[Run], grid: GridSettings) -> dict[str, Path]:
    """Compute the features of the targets' training images for the runs that learn from them; their files, by the keys of these runs."""
    learning = [run for run in runs if _learns_from_features(run)]
    pairs = dict.fromkeys((run.source, run.target) for run in learning)
    stored = {pair: features.store(*pair, grid) for pair in pairs}
    return {run.key: stored[run.source, run.target] for run in learning}


def _learns_from_features(run: Run) -> bool:
    """Whether the features of the images of the target are what the run trains on, or what it keeps."""
    if run.experiment == LEARN_WITHOUT_FORGETTING:
        return run.method == "frozen" or run.method not in REFERENCES
    return run.method == "transferred" or (run.experiment == TRAIN_HEADS and run.how["training"]["augmentation"] == "none")


def gradients(runs: list[Run]) -> dict[str, np.ndarray]:
    """The images of Figure 5 and their gradients, under `<source>/<target>/<image, gradient or label>_<hidden layers>`."""
    shown = [run for run in runs if run.how["gradients"]]
    return _arrays(shown, ("image", "gradient", "label"), lambda run, name: f"{name}_{run.setting:g}")


def distances(runs: list[Run]) -> dict[str, np.ndarray]:
    """The distances of features of Figure 7, under `<source>/<target>/<split>`."""
    return _arrays([run for run in runs if run.method == "distance"], ("train", "test"), lambda run, name: name)


def _arrays(runs: list[Run], names: tuple[str, ...], name_of: Any) -> dict[str, np.ndarray]:
    return {
        f"{run.source}/{run.target}/{name_of(run, name)}": array
        for run in runs
        for name, array in cells.arrays(run.experiment, run.key).items()
        if name in names
    }
