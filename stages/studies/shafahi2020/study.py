"""Shafahi et al., "Adversarially robust transfer learning" (ICLR 2020): does robustness come along?"""

from contextlib import suppress

from stages.lib.errors import RunError
from stages.lib.networks.architectures import pieces_of
from stages.lib.settings.catalog import AnySource
from stages.lib.settings.params import PARAMS
from stages.lib.settings.sections import Params
from stages.studies.shafahi2020 import runs
from stages.studies.shafahi2020.settings import HardenSettings, LearnWithoutForgettingSettings, RetrainSettings, TrainHeadsSettings
from stages.studies.study import Experiment, Study, name_problems, sections_on

EXPERIMENTS = (
    Experiment(runs.RETRAIN, RetrainSettings, runs.retrain, f"{runs.FOLDER}.retrain"),
    Experiment(
        runs.TRAIN_HEADS, TrainHeadsSettings, runs.train_heads, f"{runs.FOLDER}.train_heads", runs.store_features, runs.gradients
    ),
    Experiment(runs.HARDEN, HardenSettings, runs.harden, f"{runs.FOLDER}.harden", runs.store_features),
    Experiment(
        runs.LEARN_WITHOUT_FORGETTING, LearnWithoutForgettingSettings, runs.learn_without_forgetting,
        f"{runs.FOLDER}.learn_without_forgetting", runs.store_features, runs.distances,
    ),
)  # fmt: skip


def problems(settings: Params, sources: dict[str, AnySource]) -> list[str]:
    """Sources and targets that are not brought here, what a source cannot do, and robustness that is measured in two ways."""
    wrong = []
    mine = {experiment.name for experiment in EXPERIMENTS}
    sections = {name: section for name, section in sections_on(settings).items() if name in mine}
    for name, section in sections.items():
        wrong += name_problems(name, section, settings, sources)
    first = next(iter(sections), None)
    wrong += [
        f"{PARAMS}: {name}.measured is not {first}.measured; allowed: the same, as their figures stand side by side"
        for name, section in sections.items()
        if section.measured != sections[first].measured
    ]
    return wrong + (_retrain_problems(sections[runs.RETRAIN], settings, sources) if runs.RETRAIN in sections else [])


def _retrain_problems(section: RetrainSettings, settings: Params, sources: dict[str, AnySource]) -> list[str]:
    """Sources whose own data are not brought here, on which they are retrained, and pieces that a source does not have."""
    wrong = [
        f"{PARAMS}: retrain.sources: {source} has learnt {sources[source].dataset}; allowed: sources of one of params.yaml: datasets"
        for source in section.sources
        if getattr(sources.get(source), "dataset", None) not in [None, *settings.datasets]
    ]
    for source in section.sources:
        with suppress(KeyError, RunError):  # of names that no catalog, or no family, has: `check` says them
            most = pieces_of(architecture := sources[source].architecture)
            wrong += [
                f"{PARAMS}: retrain.k: {k} is above the {most} pieces of {source} ({architecture}); allowed: 1 to {most}"
                for k in section.k
                if k > most
            ]
    return wrong


SHAFAHI = Study(
    name="shafahi2020",
    title="Shafahi et al. (ICLR 2020)",
    report="stages.studies.shafahi2020.report",
    experiments=EXPERIMENTS,
    problems=problems,
)
