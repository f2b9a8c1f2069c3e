"""What a study is to the pipeline: the experiments that it computes, its settings, and what it says in the report.

A study is a folder here, and a line in `registry`. What is declared is light: neither torch nor matplotlib is imported for it.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from stages.lib.errors import RunError
from stages.lib.networks.architectures import blocks_of
from stages.lib.networks.sources import SourceCard
from stages.lib.runs.experiments import Run
from stages.lib.settings.catalog import AnySource, Labels, Random
from stages.lib.settings.fields import Settings
from stages.lib.settings.params import PARAMS, unknown
from stages.lib.settings.sections import GridSettings, Params

CardOf = Callable[[str], SourceCard]
SAID: dict[Labels, str] = {
    "one": "one label for each image", "objects": "several objects in an image, with boxes",
    "two": "two labels for each image, of its shape and of its texture",
}  # fmt: skip


@dataclass(frozen=True)
class Experiment:
    """What a paper computes beyond fine-tuning: a list of runs, which the section of params.yaml of the same name decides."""

    name: str  # in params.yaml, in its list `experiments`, and in models/results/
    settings: type[Settings]
    runs: Callable[[Any, CardOf], list[Run]]  # of its settings, and of the cards of sources
    module: str  # dotted name of the one that computes a run, by `compute(run)`
    prepare: Callable[[list[Run], GridSettings], dict[str, Path]] | None = None  # computes what missing runs share; files by key
    arrays: Callable[[list[Run]], dict[str, np.ndarray]] = lambda runs: {}  # that the report shows, read from the finished runs
    cost: str | None = None  # dotted name of the module that measures what runs cost, by `seconds(runs, card_of, workers)`


def sections_on(settings: Params) -> dict[str, Settings]:
    """The sections of the experiments that params.yaml names and that have one, by the names of the experiments."""
    sections = {name: getattr(settings, name, None) for name in settings.experiments}
    return {name: section for name, section in sections.items() if section is not None}


class Labelled(Protocol):
    """What `label_problems` reads of an entry of data/catalog.yaml."""

    labels: Labels
    has_masks: bool


def label_problems(settings: Params, datasets: Mapping[str, Labelled]) -> list[str]:
    """Sets whose images have other labels than are asked for, and sets whose objects lack masks, a line for each.

    Args:
        datasets: the entries of data/catalog.yaml by name.
    """
    asked: list[tuple[str, list[str], Labels]] = [
        ("targets", settings.targets, "one"),
        ("source.dataset", [settings.source.dataset], "one"),
    ]
    for name, section in sections_on(settings).items():
        asked.append((f"{name}.targets", getattr(section, "targets", []), "one"))
        for wanted, keys in (("one", "with_one_label"), ("objects", "with_objects"), ("two", "with_two_labels")):
            asked += [(f"{name}.{key}", [dataset], wanted) for key, dataset in getattr(section, keys, {}).items()]
    wrong = [
        f"{PARAMS}: {key}: {name!r} has {SAID[datasets[name].labels]}; allowed: image sets with {SAID[wanted]}"
        for key, names, wanted in asked
        for name in names
        if name in datasets and datasets[name].labels != wanted
    ]
    return wrong + [
        f"{PARAMS}: {name}.{key}: {dataset!r} has objects without masks; allowed: a set whose objects have masks, or faster_rcnn"
        for name, section in sections_on(settings).items()
        for key, dataset in getattr(section, "with_masks", {}).items()
        if dataset in settings.datasets and (of := datasets.get(dataset)) and of.labels == "objects" and not of.has_masks
    ]


def name_problems(
    name: str, section: Any, settings: Params, of_catalog: dict[str, AnySource], keys: Sequence[str] = ("sources",)
) -> list[str]:
    """Sources and targets of an experiment that are not brought here, and sources that have learnt nothing; a line each.

    Args:
        section: of params.yaml, the experiment's own.
        keys: of the section, which name sources.
    """
    wrong = unknown(f"{name}.targets", getattr(section, "targets", []), settings.datasets, f"{PARAMS}: datasets")
    for key in keys:
        named = getattr(section, key)
        wrong += unknown(f"{name}.{key}", named, settings.models, f"{PARAMS}: models")
        wrong += [
            f"{PARAMS}: {name}.{key}: {source} is random and has learnt nothing; allowed: a source that is trained or fetched"
            for source in named
            if isinstance(of_catalog.get(source), Random)
        ]
    return wrong


def blocks_of_sources(named: Sequence[str], of_catalog: dict[str, AnySource]) -> dict[str, int]:
    """Blocks of each source that has learnt something, by its name; of names that no catalog, or no family, has, `check` says so."""
    found = {}
    for name in named:
        entry = of_catalog.get(name)
        if entry is not None and not isinstance(entry, Random):
            with suppress(RunError):
                found[name] = blocks_of(entry.architecture)
    return found


@dataclass(frozen=True)
class Study:
    """A paper, or the user's own question."""

    name: str  # of its folder
    title: str
    report: str  # dotted name of the module whose `section` makes its part of the report
    experiments: Sequence[Experiment] = ()
    settings: type[Settings] | None = None  # of params.yaml: report.<name>
    problems: Callable[[Params, dict[str, AnySource]], list[str]] = lambda settings, sources: []  # what cannot be run, a line each
