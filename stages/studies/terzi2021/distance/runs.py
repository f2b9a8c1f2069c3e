"""The runs of `measure_distance`, and what of its section cannot be run."""

from contextlib import suppress
from typing import Any

from stages.lib.datasets.sets import card_of as images_of
from stages.lib.errors import RunError
from stages.lib.networks import sources
from stages.lib.networks.sources import SourceCard
from stages.lib.runs.experiments import Run
from stages.lib.settings.catalog import AnySource, Random
from stages.lib.settings.params import PARAMS
from stages.lib.settings.sections import Params
from stages.studies.study import CardOf, name_problems, sections_on
from stages.studies.terzi2021.distance.settings import MeasureDistanceSettings

MEASURE_DISTANCE = "measure_distance"
MODULE = "stages.studies.terzi2021.experiments.measure_distance"  # computes a run


def measure_distance(settings: MeasureDistanceSettings, card_of: CardOf) -> list[Run]:
    """Each model of each source, counted as the seed, to each target."""
    how = settings.model_dump(include={"least", "per_class"})
    return [
        Run(
            experiment=MEASURE_DISTANCE, module=MODULE, source=source, target=target, method="emd", setting=0, seed=number, number=number,
            how=how | {"own": _own(card_of(source))}, measured={},
        )
        for source in settings.sources
        for number in range(sources.count(source))
        for target in settings.targets
    ]  # fmt: skip


def _own(card: SourceCard) -> dict[str, Any]:
    """What decides the images that a source has learnt; their hash is None where they are not there yet, as in a plan."""
    sha256 = None
    with suppress(RunError):
        sha256 = images_of(card.dataset).splits["train"].sha256
    return {"sha256": sha256, "part": card.part and card.part.model_dump()}


def problems(settings: Params, of_catalog: dict[str, AnySource]) -> list[str]:
    """Sources and targets that are not brought here, and sources without features, or whose own images are not at hand."""
    section = sections_on(settings).get(MEASURE_DISTANCE)
    if section is None:
        return []
    wrong = name_problems(MEASURE_DISTANCE, section, settings, of_catalog)
    for name in section.sources:
        entry = of_catalog.get(name)
        if entry is not None and not isinstance(entry, Random) and entry.dataset not in settings.datasets:
            allowed = f"sources of {', '.join(settings.datasets)}, or {entry.dataset} in datasets"
            wrong.append(f"{PARAMS}: {MEASURE_DISTANCE}.sources: {name} has learnt {entry.dataset}, which is not here; allowed: {allowed}")
    return wrong
