"""The runs of `detect`, what of its section cannot be run, and the pictures that its runs leave."""

import numpy as np

from stages.lib.networks import sources
from stages.lib.networks.families.table import FAMILIES
from stages.lib.networks.names import known
from stages.lib.runs.experiments import Run
from stages.lib.settings.catalog import AnySource
from stages.lib.settings.params import PARAMS, unknown
from stages.lib.settings.sections import Params
from stages.lib.store import cells
from stages.studies.salman2020.detection.settings import DetectSettings, Task
from stages.studies.study import CardOf

DETECT = "detect"
MODULE = "stages.studies.salman2020.experiments.detect"
COST = "stages.studies.salman2020.detection.cost"
PICTURES = "picture/"  # before the names of the arrays of a run that the report draws
FAMILIES_WITH_STAGES = ("resnet", "small_resnet")
"""How the families are called whose blocks stand in stages, with features of half the side in each: what a pyramid is made of."""


def has_stages(architecture: str) -> bool:
    """Whether networks of this architecture can be backbones."""
    return FAMILIES[architecture].rpartition(".")[2].startswith(FAMILIES_WITH_STAGES)


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
    """Sources that are not brought here or cannot be backbones, and sets that are not brought here."""
    section: DetectSettings | None = getattr(settings, DETECT, None)
    if section is None or DETECT not in settings.experiments:
        return []
    named = list(dict.fromkeys([*section.sources, *(source for task in section.tasks.values() for source in section.sources_of(task))]))
    wrong = unknown(f"{DETECT}.sources", named, settings.models, "params.yaml: models")
    for source in named:
        architecture = known(of_catalog[source].architecture) if source in of_catalog else None
        if architecture in FAMILIES and not has_stages(architecture):
            allowed = ", ".join(filter(has_stages, FAMILIES))
            why = "whose blocks stand in no stages for a pyramid"
            wrong.append(f"{PARAMS}: {DETECT}.sources: {source} is a {architecture}, {why}; allowed: {allowed}")
    for key, dataset in section.with_objects.items():
        wrong += unknown(f"{DETECT}.{key}", [dataset], settings.datasets, "params.yaml: datasets")
    return wrong


def pictures(runs: list[Run]) -> dict[str, np.ndarray]:
    """What the first runs detect in some test images, under `<source>/<target>/<task>/<name>`."""
    return {
        f"{run.source}/{run.target}/{run.method}/{name.removeprefix(PICTURES)}": array
        for run in runs
        if run.how["pictures"]
        for name, array in cells.arrays(run.experiment, run.key).items()
        if name.startswith(PICTURES)
    }
