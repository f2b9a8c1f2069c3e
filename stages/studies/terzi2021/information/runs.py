"""The runs of `information`, what of its section cannot be run, and the maps that its runs leave."""

from functools import partial
from typing import Any

import numpy as np

from stages.lib.networks import sources
from stages.lib.runs.experiments import Run
from stages.lib.settings.catalog import AnySource, Random
from stages.lib.settings.params import DATA_CATALOG, PARAMS, read_yaml
from stages.lib.settings.sections import Params
from stages.lib.store import cells
from stages.studies.study import CardOf, name_problems, sections_on
from stages.studies.terzi2021.information.settings import InformationSettings

INFORMATION = "information"
MODULE = "stages.studies.terzi2021.experiments.information"
OWN_DATA = ("weights", "representation")  # methods that look at the data of the source
SEPARATION = "separation"


def information(settings: InformationSettings, card_of: CardOf) -> list[Run]:
    """Every model of each source, on its own data and on each target; the seed is the number of the model. The first models draw maps."""
    runs = []
    for card in map(card_of, settings.sources):
        for number in range(sources.count(card.name)):
            run = partial(Run, experiment=INFORMATION, module=MODULE, source=card.name, setting=0, seed=number, measured={}, number=number)
            own = partial(run, target=card.dataset, part=card.part)
            asked = {method: getattr(settings, method) for method in OWN_DATA}
            runs += [own(method=method, how=how.model_dump()) for method, how in asked.items() if how is not None]
            for target in settings.targets:
                on = own if target == card.dataset else partial(run, target=target)
                runs.append(on(method=SEPARATION, how=_how(settings, with_map=number == 0)))
    return runs


def _how(settings: InformationSettings, with_map: bool) -> dict[str, Any]:
    shown = settings.map.model_dump() if settings.map and with_map else None
    return {"neighbours": settings.neighbours.model_dump(), "map": shown}


def problems(settings: Params, of_catalog: dict[str, AnySource]) -> list[str]:
    """Sources and sets that are not brought here, sources without features, and sets with too few images for neighbours or a map."""
    section = sections_on(settings).get(INFORMATION)
    if section is None:
        return []
    wrong = name_problems(INFORMATION, section, settings, of_catalog)
    for source in section.sources:
        entry, key = of_catalog.get(source), f"{PARAMS}: {INFORMATION}.sources: {source}"
        if (
            entry
            and not isinstance(entry, Random)
            and (section.weights or section.representation)
            and entry.dataset not in settings.datasets
        ):
            allowed = "sources of one of params.yaml: datasets, or no information.weights and no information.representation"
            wrong.append(f"{key} has learnt {entry.dataset}; allowed: {allowed}")
    return wrong + [line for target in section.targets for line in _problems_of_set(target, section)]


def _problems_of_set(target: str, section: InformationSettings) -> list[str]:
    """Too few images of a set, as far as the catalog counts them; of others the experiment says it."""
    entry = read_yaml(DATA_CATALOG).get(target) or {}
    if entry.get("part"):  # whose counts are of all classes
        return []
    counts = {key: entry.get(key) for key in ("classes", "train", "test")}
    classes, train, test = (count if isinstance(count, int) else None for count in counts.values())
    wrong = []
    if test is not None and section.map and section.map.perplexity >= (n := min(test, section.map.images)):
        key = f"{PARAMS}: {INFORMATION}.map.perplexity is {section.map.perplexity:g}"
        wrong.append(f"{key}, and the map has {n} test images of {target}; allowed: below {n}")
    of_class = min(train, section.neighbours.images) // max(1, classes) if train and classes else None
    if of_class is not None and of_class < section.neighbours.k:
        key = f"{PARAMS}: {INFORMATION}.neighbours.k is {section.neighbours.k}"
        found = f"a class of {target} has {of_class} of the training images that vote"
        wrong.append(f"{key}, and {found}; allowed: 1 to {max(1, of_class)}, or more images")
    return wrong


def maps(runs: list[Run]) -> dict[str, np.ndarray]:
    """The maps of test images, and their labels, under `<source>/<target>/<map or label>`."""
    return {
        f"{run.source}/{run.target}/{name}": array
        for run in runs
        if run.method == SEPARATION and run.how["map"]
        for name, array in cells.arrays(run.experiment, run.key).items()
        if name in ("map", "label")
    }
