"""The transfer of a model to a target as a plan knows it: from files or, where they are not there yet, from the catalogs alone."""

from dataclasses import dataclass, field

import numpy as np

from stages.lib.datasets import catalog, sets, subsets
from stages.lib.datasets.kinds.base import Dataset
from stages.lib.errors import RunError
from stages.lib.networks import sources
from stages.lib.runs import grid
from stages.lib.runs.jobs import Job
from stages.lib.settings import params
from stages.lib.settings.catalog import Random
from stages.lib.settings.sections import Params


@dataclass(frozen=True)
class Transfer:
    """The fine-tuning of a source on a target, as far as its files or the catalogs describe it."""

    job: Job
    n: dict[str, int]  # images of each split
    stored_size: int  # pixels a side on disk
    drawn: dict[str, np.ndarray]  # subsets, by name
    exists: bool  # so that the store may hold runs
    held_out: dict[str, np.ndarray] = field(default_factory=dict)  # of each subset, the images that choose the rate, where any do


def n_models(settings: Params, source: str) -> int:
    """The number of models that a source has with these settings."""
    return len(params.source_entry(source).model_seeds(settings.source.n_models))


def prepared(settings: Params, source: str, target: str, number: int) -> Transfer | None:
    """The transfer of a model with its data; None where they do not exist or were made with other settings."""
    try:
        card, images, drawn = sources.card_of(source, number), sets.card_of(target), subsets.load(target)
    except (RunError, OSError, ValueError):
        return None
    n = {name: split.n for name, split in images.splits.items()}
    if images.image_size != settings.upscale.image_size or list(drawn) != subsets.names(settings.draw_subsets, n["train"]):
        return None
    held_out = grid.held_out_of(target, drawn, settings.finetune)
    return Transfer(grid.job_of(card, images, settings.finetune), n, images.stored_size, drawn, True, held_out)


def expected(settings: Params, source: str, target: str, number: int) -> Transfer:
    """The transfer of a model from the catalogs alone, with subsets for which no run has been computed."""
    images = counted_entry(target)
    stored = images.read_size(target, settings.upscale)
    splits = {"train": sets.SplitCard(n=images.train, sha256=""), "test": sets.SplitCard(n=images.test, sha256="")}
    shown = sets.DatasetCard(
        name=target, classes=images.classes or 2, channels=images.channels, image_size=settings.upscale.image_size, stored_size=stored,
        mean=[0.5] * 3, std=[0.5] * 3, published_mean=[0.5] * 3, published_std=[0.5] * 3, splits=splits,
    )  # fmt: skip
    rng = np.random.default_rng(0)
    names = subsets.names(settings.draw_subsets, images.train)
    drawn = {name: rng.permutation(images.train)[: subsets.size_and_seed_of(name)[0]] for name in names}
    share = settings.finetune.select.validation if settings.finetune.select else None
    held_out = {name: places[: max(1, round(share * len(places)))] for name, places in drawn.items()} if share else {}
    n = {"train": images.train, "test": images.test}
    return Transfer(grid.job_of(expected_card(source, number), shown, settings.finetune), n, stored, drawn, False, held_out)


def counted_entry(name: str) -> Dataset:
    """The entry of images.

    Raises:
        RunError: when it does not say how many there are.
    """
    images = catalog.dataset_entry(name)
    if images.train is None or images.test is None:
        raise RunError(f"{params.DATA_CATALOG}: {name} does not say how many images it has; run `dvc repro upscale` first, or add them")
    return images


def expected_card(source: str, number: int = 0) -> sources.SourceCard:
    entry = params.source_entry(source)
    return sources.SourceCard(
        name=source, number=number, kind="random" if isinstance(entry, Random) else "fetched", architecture=entry.architecture,
        classes=None, dataset=getattr(entry, "dataset", None), part=getattr(entry, "part", None), threat=None, origin="", sha256="unknown",
        mean=[0.5] * 3, std=[0.5] * 3, accuracy={},
    )  # fmt: skip
