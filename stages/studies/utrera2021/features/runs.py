"""The runs of `visualise` and `invert`, what of their sections cannot be run, and the arrays that the report reads of them."""

from collections.abc import Iterable
from typing import Any

import numpy as np

from stages.lib.networks import sources
from stages.lib.networks.architectures import width_of
from stages.lib.networks.pretrained import Pretrained
from stages.lib.runs.experiments import Run
from stages.lib.settings.catalog import AnySource, Trained
from stages.lib.settings.params import PARAMS, unknown
from stages.lib.settings.sections import Params
from stages.lib.store import cells
from stages.studies.study import CardOf, Experiment, blocks_of_sources, name_problems, sections_on
from stages.studies.utrera2021.features.settings import NOISE, InvertSettings, Optimised, VisualiseSettings

VISUALISE, INVERT = "visualise", "invert"
FOLDER = "stages.studies.utrera2021.features"
PLAIN, VARIATIONAL, EFFECTIVE = "plain", "variational", "effective"  # ways of inversion


def visualise(settings: VisualiseSettings, card_of: CardOf) -> list[Run]:
    """The features of each model of each source."""
    own = {name: card_of(name) for name in settings.sources}
    how = settings.model_dump(include={"layer", "features", "n_starts", "start_std", "pictures"})
    return [
        Run(
            experiment=VISUALISE, module=f"{FOLDER}.visualise", source=name, method=settings.layer, setting=0, seed=seed, measured={},
            target=card.dataset if settings.start == NOISE else settings.start, part=card.part if settings.start == NOISE else None,
            how=how | {"from_noise": settings.start == NOISE} | _shared(settings, seed), number=seed % sources.count(name),
            others=_judges(settings, name, seed, card_of),
        )
        for name, card in own.items()
        for seed in range(settings.n_seeds)
    ]  # fmt: skip


def invert(settings: InvertSettings, card_of: CardOf) -> list[Run]:
    """The inversions of each source on each target: without noise, and with noise of each level, drawn once and drawn anew."""
    noise = settings.noise
    ways = [(PLAIN, 0.0), *((VARIATIONAL, beta) for beta in noise.variational), *((EFFECTIVE, beta) for beta in noise.effective)]
    how = settings.model_dump(include={"n_images", "start", "start_std"})
    runs = []
    for name, target in ((name, target) for name in settings.sources for target in settings.targets):
        card = card_of(name)
        own = target == card.dataset
        for seed in range(settings.n_seeds):
            for method, beta in ways:
                noisy = noise.model_dump(include={"on", "prior_std", "images"}) if beta else {}
                runs.append(Run(
                    experiment=INVERT, module=f"{FOLDER}.invert", source=name, target=target, part=card.part if own else None,
                    method=method, setting=beta, seed=seed, how=how | noisy | _shared(settings, seed), measured={},
                    number=seed % sources.count(name), others=_judges(settings, name, seed, card_of) if own else (),
                ))  # fmt: skip
    return runs


def _shared(settings: Optimised, seed: int) -> dict[str, Any]:
    return {"descent": settings.descent.model_dump(), "pictures": settings.pictures if seed == 0 else 0}


def _judges(settings: Optimised, source: str, seed: int, card_of: CardOf) -> tuple[Pretrained, ...]:
    """The judges of the images of a model of a source: those that have learnt the same classes, and of each another model than it."""
    own, found = card_of(source), []
    for name in settings.judges:
        card = card_of(name, (seed + 1) % sources.count(name))
        if (card.dataset, card.part) == (own.dataset, own.part):
            found.append(sources.pretrained_of(card))
    return tuple(found)


def problems(settings: Params, of_catalog: dict[str, AnySource]) -> list[str]:
    """Sources, judges and sets that are not brought here, a model that would judge itself, and features that a layer does not have."""
    wrong = []
    for name in (VISUALISE, INVERT):
        section = sections_on(settings).get(name)
        if section is None:
            continue
        wrong += name_problems(name, section, settings, of_catalog, keys=("sources", "judges"))
        wrong += _self_judges(name, section, settings, of_catalog)
        if name == VISUALISE:
            begins = [section.start] if section.start != NOISE else []
            wrong += unknown(f"{VISUALISE}.start", begins, settings.datasets, f"{PARAMS}: datasets")
            wrong += _feature_problems(section, settings, of_catalog)
    return wrong


def _self_judges(name: str, section: Optimised, settings: Params, of_catalog: dict[str, AnySource]) -> list[str]:
    return [
        f"{PARAMS}: {name}.judges: {judge} is one model, and its own images would be judged by itself; "
        "allowed: a source that is none of `sources`, or a source.n_models of 2 and more"
        for judge in section.judges
        if judge in section.sources and not (isinstance(of_catalog.get(judge), Trained) and settings.source.n_models > 1)
    ]


def _feature_problems(section: VisualiseSettings, settings: Params, of_catalog: dict[str, AnySource]) -> list[str]:
    """Features beyond the layer of a source, and noise in the shape of a set that is not brought here."""
    wrong = []
    for name in blocks_of_sources(section.sources, of_catalog):
        source = of_catalog[name]
        if section.start == NOISE and source.dataset not in settings.datasets:
            wrong.append(
                f"{PARAMS}: visualise.sources: {name} has learnt {source.dataset}; allowed: sources of one of params.yaml: datasets"
            )
        width = width_of(source.architecture) if section.layer == "features" else getattr(source, "classes", None)
        beyond = [] if section.features == "all" or width is None else [k for k in section.features if k >= width]
        wrong += [
            f"{PARAMS}: visualise.features: {k} is beyond the {width} of {name}, layer {section.layer}; allowed: 0 to {width - 1}, or all"
            for k in beyond
        ]
    return wrong


def arrays(runs: list[Run]) -> dict[str, np.ndarray]:
    """What the runs keep of each image, under `<source>/<target>/<method>/<setting>/<seed>/<name>`."""
    return {
        f"{run.source}/{run.target}/{run.method}/{run.setting:g}/{run.seed}/{name}": array
        for run in runs
        for name, array in _of_images(cells.arrays(run.experiment, run.key))
    }


def _of_images(kept: dict[str, np.ndarray]) -> Iterable[tuple[str, np.ndarray]]:
    return ((name, array) for name, array in kept.items() if not name.startswith("image/"))


EXPERIMENTS = (
    Experiment(VISUALISE, VisualiseSettings, visualise, f"{FOLDER}.visualise", arrays=arrays),
    Experiment(INVERT, InvertSettings, invert, f"{FOLDER}.invert", arrays=arrays),
)
