"""The grid of fine-tuning runs: its cells, and which of them the store does not hold (`computing` computes those).

A cell is one run: (source, target, blocks, n_images, seed), at each of the learning rates that are compared, and once more with some of
its images held out, where these choose the rate. Its key is the hash of all that decides its result; a cell
whose key is in the store is not computed again, whichever experiment or interrupted run it comes from. Cells that differ by
seed alone are computed together where that is faster, and so are those that differ in blocks and rate alone, where their images pass
the frozen part anew in each epoch: they are a batch.
"""

import hashlib
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from itertools import groupby, product
from operator import itemgetter

import numpy as np

from stages.lib.choice import module_of
from stages.lib.datasets import sets, subsets, training_images
from stages.lib.networks import sources
from stages.lib.networks.families.table import FAMILIES
from stages.lib.runs import deciding
from stages.lib.runs.jobs import WHOLE, Blocks, Job
from stages.lib.settings import params
from stages.lib.settings.fields import by_source
from stages.lib.settings.sections import FinetuneSettings, KeptWeights
from stages.lib.store import cells, files

TOGETHER = 5  # runs that are trained together, where that is faster; more than 5 gain little


@dataclass(frozen=True)
class Cell:
    """One fine-tuning run, and the hash that its result is kept under."""

    source: str
    target: str
    blocks: Blocks
    n_images: int
    seed: int
    epochs: int
    eval_every: int
    source_model: int = 0  # of the source's models, counted from 0
    lr: float = 0.0  # learning rate
    held_out: int = 0  # of its images, left out of training: the learning rate is chosen on them
    together: int = 1  # how many runs are trained at once with this one: rounding depends on it
    key: str = ""

    def __str__(self) -> str:
        model = f", model {self.source_model} of the source" if self.source_model else ""
        held_out = f", {self.held_out} of them held out" if self.held_out else ""
        return f"{self.target}, blocks {self.blocks}, n_images {self.n_images}{held_out}, seed {self.seed}, lr {self.lr:g}{model}"

    @property
    def subset(self) -> str:
        """The name of the subset that the cell trains on."""
        return subsets.name_of(self.n_images, self.seed)


@dataclass(frozen=True)
class Plan:
    """The runs of one model of a source on a target."""

    job: Job
    cells: list[Cell]  # in the order of the table; those of a batch follow one another
    drawn: dict[str, np.ndarray]  # the subsets, by name
    with_weights: list[Cell]  # those whose weights are kept
    held_out: dict[str, np.ndarray] = field(default_factory=dict)  # of each subset, the images that choose the rate, where any do

    def rows_of(self, cell: Cell) -> tuple[np.ndarray, np.ndarray | None]:
        """Places of the training images that a cell learns from, and of those that are held out."""
        return rows_of(cell, self.drawn, self.held_out)


def rows_of(cell: Cell, drawn: dict[str, np.ndarray], held_out: dict[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray | None]:
    """Places of the training images that a cell learns from, and of those that are held out; subsets, and what of them, by name."""
    subset = drawn[cell.subset]
    if not cell.held_out:
        return subset, None
    held = held_out[cell.subset]
    return subset[~np.isin(subset, held)], held


def key_of(job: Job, cell: Cell, subset: np.ndarray, held_out: np.ndarray | None = None) -> str:
    """The hash of all that decides the result of a cell; names and places, and other rates, decide nothing.

    Args:
        subset, held_out: as `rows_of` gives them.
    """
    nothing = dict.fromkeys(("key", "weights", "source", "source_model", "target", "rates"))
    views = {"views": job.views_of(cell.blocks)} if job.views_of(cell.blocks) else {}
    made_by = deciding.code_of("stages.lib.runs.work.finetune", deciding.modules_of_architecture(job.architecture))
    rows = [None if places is None else hashlib.sha256(places.tobytes()).hexdigest() for places in (subset, held_out)]
    of_job = {name: value for name, value in asdict(job).items() if name != "views"}
    return files.digest_of(of_job | views | asdict(cell) | nothing | made_by | {"subset": rows})


def together(job: Job, blocks: Blocks) -> int:
    """How many runs that differ by seed alone are trained at once: TOGETHER, where the family of the architecture allows it, else 1."""
    most = module_of(FAMILIES, job.architecture, "architecture").STACKED_BLOCKS
    few = most is not None and blocks not in WHOLE and (blocks == "last_norm" or blocks <= most)
    return TOGETHER if few and "train" in job.fixed_in_all_runs(blocks) else 1


def job_of(card: sources.SourceCard, images: sets.DatasetCard, settings: FinetuneSettings) -> Job:
    """The settings and data that the runs of a source on a target have in common."""
    pretrained = card.kind != "random"
    augmentation = training_images.augmentation_of(settings.augmentation.kind, settings.augment_grey, images)
    training = settings.model_dump(include={"batch_size", "momentum", "weight_decay", "frozen_batchnorm", "drops"}, exclude_none=True)
    return Job(
        source=card.name, target=images.name, architecture=card.architecture, classes=images.classes,
        head_init=by_source(settings.head_init, card.name), training=training,
        image_size=images.image_size, resolution=settings.resolution,
        augmentation=augmentation, views=settings.augmentation.views if augmentation != "none" else None,
        mixed_precision=settings.mixed_precision,
        moments=training_images.moments_of(by_source(settings.normalisation, card.name, images.name), images),
        source_sha256=card.sha256 if pretrained else None,
        weights=str(sources.paths(card.name, card.number)[0]) if pretrained else None, source_model=card.number,
        target_sha256=(images.splits["train"].sha256, images.splits["test"].sha256),
        rates=tuple(by_source(settings.lr, card.name, images.name)),
    )  # fmt: skip


def schedule(settings: FinetuneSettings, n_train: int, n_images: int) -> tuple[int, int]:
    """Epochs, and after how many of them the test accuracy is measured (Utrera et al. 2021, Table 4)."""
    value = partial(params.value_for, n_images, n_images == n_train)
    return value("finetune.epochs", settings.epochs), value("finetune.eval_every", settings.eval_every)


def plan(
    job: Job, blocks: list[Blocks], drawn: dict[str, np.ndarray], schedule: Callable[[int], tuple[int, int]],
    held_out: dict[str, np.ndarray] | None = None,
) -> list[Cell]:  # fmt: skip
    """Every cell of (source, target), in the order of its table; those of a batch follow one another.

    Args:
        blocks: numbers of blocks to fine-tune besides the head; a source without pre-training has `all` only.
        drawn: the subsets, by name.
        schedule: epochs, and after how many of them the test accuracy is measured, for a number of images.
        held_out: of each subset, the images on which the rate is chosen: each rate is then trained with them and without.
    """
    planned, held_out = [], held_out or {}
    for b in blocks if job.source_sha256 else ["all"]:
        for n_images, group in groupby(map(subsets.size_and_seed_of, drawn), key=itemgetter(0)):
            seeds = [seed for _, seed in group]
            size = together(job, b)
            for choosing, lr, (i, seed) in product((False, True) if held_out else (False,), job.rates, enumerate(seeds)):
                company = size if i < len(seeds) // size * size else 1
                held = len(held_out[subsets.name_of(n_images, seed)]) if choosing else 0
                cell = Cell(job.source, job.target, b, n_images, seed, *schedule(n_images), job.source_model, lr, held, company)
                planned.append(replace(cell, key=key_of(job, cell, *rows_of(cell, drawn, held_out))))
    return planned


def plans_of(source: str, target: str, blocks: list[Blocks], settings: FinetuneSettings) -> list[Plan]:
    """The plan of each model of a source on a target, from the files on disk and the settings; the first keeps weights."""
    images, drawn, cards, plans = sets.card_of(target), subsets.load(target), sources.cards_of(source), []
    for card in cards:
        own = subsets.of_model(drawn, card.number, len(cards))
        job = job_of(card, images, settings)
        held_out = held_out_of(target, own, settings)
        planned = plan(job, blocks, own, partial(schedule, settings, images.splits["train"].n), held_out)
        plans.append(Plan(job, planned, own, kept(settings.keep, planned) if card.number == 0 else [], held_out))
    return plans


def held_out_of(target: str, drawn: dict[str, np.ndarray], settings: FinetuneSettings) -> dict[str, np.ndarray]:
    """Of each subset, the images that are held out to choose a learning rate; empty where none are."""
    share = settings.select and settings.select.validation
    if not share:
        return {}
    _, y = sets.load(target, "train")
    return {name: subsets.held_out(name, places, y, share) for name, places in drawn.items()}


def batches(job: Job, planned: list[Cell]) -> list[list[Cell]]:
    """The cells that are computed at once, in the order of the plan; those that share a pass stand where the first of them does."""
    cut, passes, i = [], {}, 0
    while i < len(planned):
        cell, company = planned[i], planned[i : i + planned[i].together]
        if shares_pass(job, cell.blocks):
            company = passes.setdefault((cell.n_images, cell.seed, cell.held_out), [])
            company.append(cell)
        if company[0] is cell:
            cut.append(company)
        i += cell.together
    return cut


def shares_pass(job: Job, blocks: Blocks) -> bool:
    """Whether cells that differ in blocks and learning rate alone are computed with one pass of their images, which changes no result.

    Networks with dropout draw at random, and are trained one at a time.
    """
    anew = isinstance(blocks, int) and job.training["frozen_batchnorm"] == "batch"
    return anew and module_of(FAMILIES, job.architecture, "architecture").STACKED_BLOCKS is not None


def kept(keep: KeptWeights, planned: list[Cell]) -> list[Cell]:
    """The cells whose weights are kept: of each number of blocks and images, the first `n_seeds`, or one where it is not attacked; at every
    rate that may be chosen."""
    seen, chosen = Counter(), []
    for cell in planned:
        setting = cell.blocks, cell.n_images, cell.lr
        if not cell.held_out and cell.n_images in keep.n_images and seen[setting] < keep.seeds_of(cell.blocks):
            chosen.append(cell)
            seen[setting] += 1
    return chosen


def missing(planned: list[Cell], keep: set[str], log: Callable[[str], None] | None = None) -> list[Cell]:
    """The cells that the store does not hold.

    Args:
        keep: keys of the cells that must hold their weights as well.
    """
    results = {cell.key: cells.load("finetune", cell.key, log) for cell in planned}
    return [c for c in planned if results[c.key] is None or (c.key in keep and "weights_sha256" not in results[c.key])]
