"""The runs of `influence`, what of its section cannot be run, and the arrays that the report draws."""

import numpy as np

from stages.lib.curvature import sizes
from stages.lib.datasets import catalog, sets, training_images
from stages.lib.networks import sources
from stages.lib.networks.architectures import width_of
from stages.lib.runs.experiments import Run
from stages.lib.settings.catalog import AnySource
from stages.lib.settings.params import DATA_CATALOG, PARAMS
from stages.lib.settings.sections import Params
from stages.lib.store import cells
from stages.studies.study import CardOf, Experiment, blocks_of_sources, name_problems, sections_on
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
    section = sections_on(settings).get(INFLUENCE)
    if section is None:
        return []
    wrong = name_problems(INFLUENCE, section, settings, of_catalog)
    most = blocks_of_sources(section.sources, of_catalog)
    wrong += [
        f"{PARAMS}: {INFLUENCE}.blocks: {section.blocks} is above the {blocks} blocks of {name} ({of_catalog[name].architecture}); "
        f"allowed: 0 to {blocks}"
        for name, blocks in most.items()
        if section.blocks > blocks
    ]
    architectures = sorted({of_catalog[name].architecture for name in most})
    return wrong + [line for name in section.targets for line in _of_target(name, section, architectures)]


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
