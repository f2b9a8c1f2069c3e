"""What a study is to the pipeline: the experiments that it computes, its settings, and what it says in the report.

A study is a folder here, and a line in `registry`. What is declared is light: neither torch nor matplotlib is imported for it.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from stages.lib.networks.sources import SourceCard
from stages.lib.runs.experiments import Run
from stages.lib.settings.catalog import AnySource
from stages.lib.settings.fields import Settings
from stages.lib.settings.params import PARAMS
from stages.lib.settings.sections import GridSettings, Params

CardOf = Callable[[str], SourceCard]


@dataclass(frozen=True)
class Experiment:
    """What a paper computes beyond fine-tuning: a list of runs, which the section of params.yaml of the same name decides."""

    name: str  # in params.yaml, in its list `experiments`, and in models/results/
    settings: type[Settings]
    runs: Callable[[Any, CardOf], list[Run]]  # of its settings, and of the cards of sources
    module: str  # dotted name of the one that computes a run, by `compute(run)`
    prepare: Callable[[list[Run], GridSettings], dict[str, Path]] | None = None  # computes what missing runs share; files by key
    arrays: Callable[[list[Run]], dict[str, np.ndarray]] = lambda runs: {}  # that the report shows, read from the finished runs


def sections_on(settings: Params) -> dict[str, Settings]:
    """The sections of the experiments that params.yaml names and that have one, by the names of the experiments."""
    sections = {name: getattr(settings, name, None) for name in settings.experiments}
    return {name: section for name, section in sections.items() if section is not None}


def object_problems(settings: Params, has_objects: dict[str, bool]) -> list[str]:
    """Sets whose images have several objects where images with one label are asked for, and the other way round; a line for each.

    Args:
        has_objects: whether a set is of the first kind, by its name.
    """
    labelled, with_objects = {"targets": settings.targets, "source.dataset": [settings.source.dataset]}, {}
    for name, section in sections_on(settings).items():
        labelled[f"{name}.targets"] = getattr(section, "targets", [])
        with_objects |= {f"{name}.{key}": [dataset] for key, dataset in getattr(section, "with_objects", {}).items()}
    kinds = {False: "one label for each image", True: "several objects in an image, with boxes"}
    return [
        f"{PARAMS}: {key}: {name!r} has {kinds[not wanted]}; allowed: image sets with {kinds[wanted]}"
        for asked, wanted in ((labelled, False), (with_objects, True))
        for key, names in asked.items()
        for name in names
        if has_objects.get(name, wanted) != wanted
    ]


@dataclass(frozen=True)
class Study:
    """A paper, or the user's own question."""

    name: str  # of its folder
    title: str
    report: str  # dotted name of the module whose `section` makes its part of the report
    experiments: Sequence[Experiment] = ()
    settings: type[Settings] | None = None  # of params.yaml: report.<name>
    problems: Callable[[Params, dict[str, AnySource]], list[str]] = lambda settings, sources: []  # what cannot be run, a line each
