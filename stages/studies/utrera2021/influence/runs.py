"""The runs of `influence`, what of its section cannot be run, and the arrays that the report draws."""

import numpy as np

from stages.lib.curvature import sizes
from stages.lib.datasets import catalog, sets, training_images
from stages.lib.networks import sources
from stages.lib.networks.architectures import BLOCKS
from stages.lib.runs.experiments import Run
from stages.lib.settings.catalog import AnySource, Random
from stages.lib.settings.params import DATA_CATALOG, PARAMS, unknown
from stages.lib.settings.sections import Params
from stages.lib.store import cells
from stages.studies.study import CardOf, Experiment
from stages.studies.utrera2021.influence.settings import Finetuned, InfluenceSettings

INFLUENCE = "influence"
MODULE = "stages.studies.utrera2021.influence.influence"
SHOWN = ("ranks/", "picture/", "matrix/")  # before the names of the arrays of a run that the report draws


def influence(settings: InfluenceSettings, card_of: CardOf) -> list[Run]:
    """Each source on each subset of each target; of a source of several models, the subsets take them in turn."""
    return [
        Run(
            experiment=INFLUENCE, module=MODULE, source=source, target=target, method="finetuned", setting=settings.n_images, seed=seed,
            how=_how(settings, target) | {"pictures": place == 0}, measured={}, number=place % sources.count(source),
        )
        for target in settings.targets
        for source in settings.sources
        for place, seed in enumerate(settings.seeds)
    ]  # fmt: skip


def _how(settings: InfluenceSettings, target: str) -> dict:
    kept = settings.model_dump(include={"blocks", "n_images", "method", "cuts", "damping", "ranks"})
    return kept | {"finetune": _finetuned(settings.finetune, sets.card_of(target)), "memory": int(settings.memory_gib * 2**30)}


def _finetuned(settings: Finetuned, images: sets.DatasetCard) -> dict:
    """The settings of fine-tuning with what they come to for this target."""
    kept = settings.model_dump(exclude={"normalisation", "augment_grey"})
    return kept | {
        "augmentation": training_images.augmentation_of(settings, images),
        "moments": training_images.moments_of(settings.normalisation, images),
    }


def problems(settings: Params, of_catalog: dict[str, AnySource]) -> list[str]:
    """Names that are not brought here, sources and numbers that do not fit, and a Hessian that is too large for the memory."""
    section: InfluenceSettings | None = getattr(settings, INFLUENCE, None)
    if section is None or INFLUENCE not in settings.experiments:
        return []
    wrong = unknown(f"{INFLUENCE}.sources", section.sources, settings.models, "params.yaml: models")
    wrong += unknown(f"{INFLUENCE}.targets", section.targets, settings.datasets, "params.yaml: datasets")
    for name in section.sources:
        wrong += _of_source(name, of_catalog.get(name), section)
    for name in section.targets:
        wrong += _of_target(name, section, sorted({of_catalog[s].architecture for s in section.sources if s in of_catalog} & set(BLOCKS)))
    return wrong


def _of_source(name: str, source: AnySource | None, section: InfluenceSettings) -> list[str]:
    if isinstance(source, Random):
        return [f"{PARAMS}: {INFLUENCE}.sources: {name} is random; allowed: a source that is trained or fetched"]
    most = BLOCKS.get(source.architecture) if source else None
    if most is None or section.blocks <= most:
        return []
    return [
        f"{PARAMS}: {INFLUENCE}.blocks: {section.blocks} is above the {most} blocks of {name} ({source.architecture}); allowed: 0 to {most}"
    ]


def _of_target(name: str, section: InfluenceSettings, architectures: list[str]) -> list[str]:
    """What a target cannot do; nothing where the catalog does not know its classes, as of a folder that is not yet read."""
    images, wrong = catalog.known(name), []
    if images is None:
        return wrong
    if section.finetune.normalisation == "published" and images.normalisation is None:
        allowed = f"a mean and std, as {INFLUENCE}.finetune.normalisation is `published`"
        wrong.append(f"{DATA_CATALOG}: {name}.normalisation is missing; allowed: {allowed}")
    if images.classes is None or images.part:
        return wrong
    if not images.classes <= section.n_images <= (images.train or section.n_images):
        allowed = f"{images.classes} (its classes) to {images.train or 'all'} (its training images)"
        wrong.append(f"{PARAMS}: {INFLUENCE}.n_images: {section.n_images} cannot be drawn from {name}; allowed: {allowed}")
    return wrong + [line for each in architectures for line in _too_large(name, images.classes, each, section)][:1]


def _too_large(target: str, classes: int, architecture: str, section: InfluenceSettings) -> list[str]:
    """A line where every eigenvalue is asked for, and does not fit."""
    at_most = sizes.bytes_of(sizes.size_of(section.n_images, section.n_images, classes))  # with any number of features
    if not sizes.needs_all(section.cuts, section.damping) or at_most <= section.memory_gib * 2**30:
        return []
    size = sizes.size_of(section.n_images, width_of(architecture), classes)
    gib = sizes.bytes_of(size) / 2**30
    if gib <= section.memory_gib:
        return []
    allowed = f"from {gib + 0.1:.1f} on, fewer n_images, or cuts from {sizes.LEAST_CUT:g} on and no damping, which need few of them"
    found = f"all eigenvectors of the {size:,} rows that {section.n_images:,} images of {target} give with a {architecture} take {gib:.1f}"
    return [f"{PARAMS}: {INFLUENCE}.memory_gib is {section.memory_gib:g}, and {found}; allowed: {allowed}"]


def width_of(architecture: str) -> int:
    """Features that the last layer of an architecture sees; imports torch, and makes no weights."""
    import torch  # here, as settings alone need none of it

    from stages.lib.networks import units

    with torch.device("meta"):
        return units.build(architecture, 1, [0.5] * 3, [0.5] * 3).head.in_features


def arrays(runs: list[Run]) -> dict[str, np.ndarray]:
    """What the report draws, under `<source>/<target>/<seed>/<name>`."""
    return {
        f"{run.source}/{run.target}/{run.seed}/{name}": array
        for run in runs
        if "weights_sha256" in (cells.load(run.experiment, run.key) or {})
        for name, array in cells.arrays(run.experiment, run.key).items()
        if name.startswith(SHOWN)
    }


EXPERIMENTS = (Experiment(INFLUENCE, InfluenceSettings, influence, MODULE, arrays=arrays),)
