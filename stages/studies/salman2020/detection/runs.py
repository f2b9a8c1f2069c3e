"""The runs of `detect`, what of its section cannot be run, and the pictures that its runs leave."""

import numpy as np

from stages.lib.datasets import catalog
from stages.lib.errors import RunError
from stages.lib.networks import sources
from stages.lib.networks.architectures import BLOCKS
from stages.lib.networks.families.table import FAMILIES
from stages.lib.runs.experiments import Run
from stages.lib.settings.catalog import AnySource
from stages.lib.settings.params import PARAMS, unknown
from stages.lib.settings.sections import Params
from stages.lib.store import cells
from stages.studies.salman2020.detection.settings import DetectSettings, Task
from stages.studies.study import CardOf

DETECT = "detect"
MODULE = "stages.studies.salman2020.experiments.detect"
PICTURES = "picture/"  # before the names of the arrays of a run that the report draws
FAMILIES_WITH_STAGES = {"stages.lib.networks.families.resnet", "stages.lib.networks.families.small_resnet"}
"""Families whose blocks stand in stages, each of which halves the side of its features: what a pyramid of features is made of."""


def detect(settings: DetectSettings, card_of: CardOf) -> list[Run]:
    """Each source as the backbone of each detector, from each seed; of a source of several models, the seeds take them in turn."""
    return [
        Run(
            experiment=DETECT, module=MODULE, source=source, target=task.dataset, method=name, setting=0, seed=seed,
            how=_how(task, settings.pictures if seed == 0 else 0), measured={}, number=seed % sources.count(source),
        )
        for name, task in settings.tasks.items()
        for source in settings.sources_of(task)
        for seed in settings.seeds_of(task)
    ]  # fmt: skip


def _how(task: Task, pictures: int) -> dict:
    return task.model_dump(exclude={"dataset", "sources", "n_seeds"}) | {"pictures": pictures}


def problems(settings: Params, of_catalog: dict[str, AnySource]) -> list[str]:
    """Sources that are not brought here or cannot be backbones, and sets that are not brought here or have no objects."""
    section: DetectSettings | None = getattr(settings, DETECT, None)
    if section is None or DETECT not in settings.experiments:
        return []
    named = list(dict.fromkeys([*section.sources, *(source for task in section.tasks.values() for source in section.sources_of(task))]))
    wrong = unknown(f"{DETECT}.sources", named, settings.models, "params.yaml: models")
    for source in named:
        architecture = of_catalog[source].architecture if source in of_catalog else None
        if architecture in BLOCKS and FAMILIES[architecture] not in FAMILIES_WITH_STAGES:
            allowed = ", ".join(name for name, family in FAMILIES.items() if family in FAMILIES_WITH_STAGES)
            why = "whose blocks stand in no stages for a pyramid"
            wrong.append(f"{PARAMS}: {DETECT}.sources: {source} is a {architecture}, {why}; allowed: {allowed}")
    for name, task in section.tasks.items():
        key = f"{DETECT}.tasks.{name}.dataset"
        wrong += unknown(key, [task.dataset], settings.datasets, "params.yaml: datasets")
        wrong += [] if task.dataset not in settings.datasets else _dataset_problems(key, task)
    return wrong


def _dataset_problems(key: str, task: Task) -> list[str]:
    try:
        entry = catalog.dataset_entry(task.dataset)
    except RunError:  # which `check` says
        return []
    if not entry.has_objects:
        allowed = "a set with objects, of kind detection or scenes"
        return [f"{PARAMS}: {key} is {task.dataset!r}, whose images have one label each; allowed: {allowed}"]
    return []


def pictures(runs: list[Run]) -> dict[str, np.ndarray]:
    """What the first runs detect in some test images, under `<source>/<target>/<task>/<name>`."""
    return {
        f"{run.source}/{run.target}/{run.method}/{name.removeprefix(PICTURES)}": array
        for run in runs
        if run.how["pictures"]
        for name, array in cells.arrays(run.experiment, run.key).items()
        if name.startswith(PICTURES)
    }
