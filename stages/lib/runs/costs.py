"""The cost of a grid: its runs are counted by kind, and multiplied by what a kind takes (`planning.measuring`).

A batch of runs takes `start + steps * per_step + images * per_image + tested * per_tested`; where activations are kept, the frozen
part's pass is counted once.
"""

from dataclasses import dataclass
from typing import NamedTuple

from stages.lib.machine import Precision
from stages.lib.runs.grid import Cell
from stages.lib.runs.jobs import Blocks, Job


@dataclass(frozen=True)
class Kind:
    """Properties of runs that decide their cost: two runs of one kind with as many images cost the same."""

    architecture: str
    at_once: tuple[Blocks, ...]  # blocks of each run that is trained at once with others
    augmentation: str
    mixed_precision: Precision
    fused: bool  # operations, on a GPU
    image_size: int
    stored_size: int
    whole: bool  # images are stored whole, of which each batch is cut
    resolution: int | None
    batch_size: int
    frozen_batchnorm: str
    fixed_within_a_run: frozenset[str]  # splits whose frozen activations stay the same throughout a run ...
    fixed_in_all_runs: frozenset[str]  # ... and splits whose frozen activations are identical in all runs
    views: int | None  # of each training image, whose activations are kept; the cost of a step is then that of images that are not changed

    @property
    def together(self) -> int:
        """Runs that are trained at once."""
        return len(self.at_once)

    @property
    def one_pass(self) -> bool:
        """Whether one pass of images serves several runs."""
        return self.together > 1 and self.frozen_batchnorm == "batch"

    @property
    def blocks(self) -> str:
        """The numbers of blocks of its runs, as they are shown."""
        return ", ".join(map(str, dict.fromkeys(self.at_once)))


@dataclass(frozen=True)
class Sizes:
    """Bytes that the parts of a network of one kind take."""

    activation: int  # of an image, as the frozen part leaves it
    network: int
    trained: int  # of the part that is fine-tuned


class Rates(NamedTuple):
    """Seconds that the parts of a run of one kind take."""

    start: float  # of a batch of runs, before its first step
    per_step: float
    per_image: float  # trained on, of one run
    per_tested: float
    per_frozen: float  # pass of an image through the frozen part


@dataclass
class Work:
    """Amounts of work of one kind: runs, batches of runs, steps and images."""

    runs: int = 0
    done: int = 0
    batches: int = 0
    steps: int = 0
    trained: int = 0  # images, through forward and backward pass
    tested: int = 0  # images, through the part that is fine-tuned
    frozen: int = 0  # images, through the frozen part alone

    def __add__(self, other: "Work") -> "Work":
        return Work(*(one + more for one, more in zip(vars(self).values(), vars(other).values(), strict=True)))

    def seconds(self, rates: Rates) -> float:
        return (
            self.batches * rates.start + self.steps * rates.per_step + self.trained * rates.per_image
            + self.tested * rates.per_tested + self.frozen * rates.per_frozen
        )  # fmt: skip


def kind_of(job: Job, at_once: tuple[Blocks, ...], stored_size: int, fused: bool = False, whole: bool = False) -> Kind:
    blocks = at_once[0]  # of which all are kept alike
    views = job.views_of(blocks)
    augmentation = "none" if views else job.augmentation
    return Kind(
        job.architecture, at_once, augmentation, job.mixed_precision, fused, job.image_size, stored_size, whole,
        job.resolution, job.training["batch_size"], job.training["frozen_batchnorm"], frozenset(job.fixed_within_a_run(blocks)),
        frozenset(job.fixed_in_all_runs(blocks)), views,
    )  # fmt: skip


def add(work: Work, kind: Kind, batch: list[Cell], n_test: int, absent: int) -> None:
    """Add a batch to the work; a batch of which no run is absent is done."""
    cell, n = batch[0], len(batch)
    work.runs += n
    work.done += n - absent
    if not absent:
        return
    evaluations = evaluations_of(cell)
    work.batches += 1
    trained = cell.n_images - cell.held_out
    work.steps += -(-trained // kind.batch_size) * cell.epochs
    work.trained += n * trained * cell.epochs
    work.tested += n * (n_test + cell.held_out) * evaluations
    if kind.fixed_within_a_run > kind.fixed_in_all_runs:  # one pass adapts the statistics, another computes what stays fixed from then on
        work.frozen += n * (n_test + cell.held_out + trained * (1 + ("train" in kind.fixed_within_a_run)))


def evaluations_of(cell: Cell) -> int:
    """How often a run is tested."""
    return len({*(range(0, cell.epochs, cell.eval_every) if cell.eval_every else ()), cell.epochs - 1})
