"""The full grid behind `benchmarks.recommend`: every source, number of blocks and draw on every target, computed once and kept as cells.

Run it with `python -m benchmarks.recommend_grid`, in a clone whose embedded sources are trained; what is done is not computed again. A
target stands for a folder of 300 images: 210 of its training images are what decisions see, and others, up to 1000, are what choices
are judged by.
"""

import argparse
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from stages.lib.datasets import sampling, sets
from stages.lib.progress import bar, log
from stages.lib.runs import computing, grid, jobs
from stages.lib.runs.jobs import Blocks
from stages.lib.runs.work import finetune, frozen
from stages.lib.store import files
from stages.lib.workers import executors
from stages.recommending.clock import Clock
from stages.recommending.computing import candidates as gathering
from stages.recommending.computing import features
from stages.recommending.computing.trials import Trials
from stages.recommending.deciding.arms import Arm, Scored
from stages.recommending.images import draws
from stages.recommending.workspace import Workspace

TUNED_ON = ("digits", "textures", "letters_font", "letters_similar", "digits_low", "textures_low")
"""Targets on which the decisions of `recommend` were corrected."""

SIZE, DECIDING, MOST_JUDGED, LABELS, DRAWS = 32, 210, 1000, 50, 10
MINUTES = 240  # at most
SEED = 7  # of the division of a target

FOLDER = 300  # images of the folder that a target stands for, whose features are computed
Kind = tuple[str, str]  # architecture and blocks: what decides the cost of a run
TIMES = 3  # that a cost is measured, of which the least counts
SECONDS: dict[Kind, float] = {}
ALONE: dict[Kind, float] = {}
FEATURE_SECONDS: dict[str, float] = {}


@dataclass(frozen=True)
class Grid:
    """All results on one target, [arms, draws]."""

    arms: list[Arm]
    decided: np.ndarray  # accuracy in percent on the images that decide
    judged: np.ndarray  # on those that judge
    seconds: np.ndarray  # [arms], of a run on one core, of those that are computed at once
    alone: np.ndarray  # [arms], of a run that is computed alone
    scored: dict[str, Scored]
    kinds: list[Kind]  # of each arm
    feature_s: dict[str, float]  # by source
    own_accuracy: dict[str, float]
    share: float  # of two draws

    @property
    def cost(self) -> float:
        """Seconds of all runs on one core."""
        return float(self.seconds.sum()) * self.decided.shape[1]


def asked() -> argparse.Namespace:
    """`targets` and `blocks` of the command line."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--targets", nargs="+", default=TUNED_ON, metavar="SET", help="image sets of data/catalog.yaml")
    parser.add_argument("--blocks", nargs="+", type=int, default=(0, 1), metavar="N", help="with 3, a grid takes an hour on two cores")
    return parser.parse_args()


def compute_grids(targets: Sequence[str], blocks: Sequence[Blocks]) -> None:
    with Workspace(Path.cwd(), "benchmark", Clock(MINUTES)) as work:
        for some in blocks:
            for target in targets:
                grid_of(work, target, (some,), compute=True)


def grid_of(work: Workspace, target: str, blocks: Sequence[Blocks], compute: bool = False) -> Grid:
    """The grid on a target; without `compute`, from the store alone."""
    work.catalogs([])
    work.write(SIZE)
    if not work.has_images(target):
        work.stage("download", target)
        work.stage("upscale", target)
    divide(target)
    at_hand = [name for name in gathering.wanted(work, []) if work.link_source(name)]
    gathered = gathering.gather(work, at_hand, lambda any_at_hand: 0.0)
    trials = Trials(gathered.candidates, {SIZE: f"{target}_deciding"}, {SIZE: work.settings(SIZE)}, work.settings(SIZE).grid)
    _, y = sets.load(f"{target}_deciding", "train")
    planned = draws.plan(y, LABELS, LABELS)
    with executors.workers(trials.grid, computing.PRELOAD) as workers:
        scored = features.score(trials, gathered.candidates, draws.seeds(5), planned, work.clock, work.clock.left_s, workers)
    arms = [Arm(one.name, str(b)) for one in gathered.candidates for b in blocks if b in one.blocks]
    seeds, plans = draws.seeds(DRAWS), []
    for one in gathered.candidates:
        plans.append(trials.plan(one.name, {arm: seeds for arm in arms if arm.source == one.name}, planned))
    if compute:
        run(f"{target}, {blocks}", trials, plans)
    found = [[trials.found(arm, seed, planned) for seed in seeds] for arm in arms]
    decided, judged = (np.array([[getattr(one, name) for one in row] for row in found]) for name in ("decided", "final"))
    kinds = [(trials.candidates[arm.source].card.architecture, arm.blocks) for arm in arms]
    seconds, alone, of_features = measured(trials, {kind: plan for plan in plans for kind in kinds_of(trials, plan)})
    own = {one.name: one.own_accuracy for one in gathered.candidates if any(arm.source == one.name for arm in arms)}
    feature_s = {name: of_features[trials.candidates[name].card.architecture] for name in scored}
    costs = [np.array([of[kind] for kind in kinds]) for of in (seconds, alone)]
    return Grid(arms, decided, judged, *costs, scored, kinds, feature_s, own, planned.share)


def kinds_of(trials: Trials, plan: grid.Plan) -> set[Kind]:
    return {(trials.candidates[cell.source].card.architecture, str(cell.blocks)) for cell in plan.cells}


def measured(trials: Trials, plans: dict[Kind, grid.Plan]) -> tuple[dict[Kind, float], dict[Kind, float], dict[str, float]]:
    """Seconds of a processor for a run of each kind, of several at once and of one alone, and for features under each architecture.

    Processors' seconds, as others use the machine, too, and the hours that a run waited for them are not its cost.
    """
    for (architecture, blocks), plan in plans.items():
        if (architecture, blocks) not in SECONDS:
            [batch, *_] = [batch for batch in grid.batches(plan.job, plan.cells) if str(batch[0].blocks) == blocks]
            with executors.workers(trials.grid, computing.PRELOAD) as workers:
                kept = computing.keep_activations(plan, {batch[0].blocks}, workers, computing.GIB)
            requests = [jobs.Request(cell, *plan.rows_of(cell)) for cell in batch]
            stored = {entry.split: entry.stored for entry in kept}
            for found, some in ((SECONDS, requests), (ALONE, requests[:1])):
                took = []
                for _ in range(TIMES):
                    begun = time.process_time()
                    finetune.run(jobs.Batch(plan.job, some, stored))
                    took.append((time.process_time() - begun) / len(some))
                found[architecture, blocks] = min(took)
        if architecture not in FEATURE_SECONDS:
            took = []
            for _ in range(TIMES):
                begun = time.process_time()
                list(frozen.activations(plan.job, 0, "train", None))
                took.append((time.process_time() - begun) * FOLDER / DECIDING)
            FEATURE_SECONDS[architecture] = min(took)
    return SECONDS, ALONE, FEATURE_SECONDS


def run(target: str, trials: Trials, plans: list[grid.Plan]) -> None:
    work = [(plan, absent) for plan in plans if (absent := grid.missing(plan.cells, set()))]
    with bar(title=target, total=sum(len(absent) for _, absent in work), unit="run") as progress:
        for cell, error in computing.compute(work, trials.grid) if work else ():
            progress.update()
            if error is not None:
                log(f"{cell}: {error}")
                raise error


def divide(target: str) -> None:
    """Make the set <target>_deciding: its training images are those that decide, its test images those that judge."""
    name = f"{target}_deciding"
    if (sets.IMAGES / name / "card.json").is_file():
        return
    card, parts = sets.card_of(target), [sets.load(target, split) for split in ("train", "test")]
    x, y = (np.concatenate(of_both) for of_both in zip(*parts, strict=True))
    deciding = sampling.stratified(y, DECIDING, SEED)
    rest = np.setdiff1d(np.arange(len(y)), deciding)
    judging = rest[sampling.stratified(y[rest], MOST_JUDGED, SEED)]
    splits = {}
    for split, places in (("train", deciding), ("test", judging)):
        paths = sets.array_paths(sets.IMAGES / name, split)
        hashes = [files.save_array(path, array[places]) for path, array in zip(paths, (x, y), strict=True)]
        splits[split] = sets.SplitCard(n=len(places), sha256=sets.digest_of(hashes))
    files.write_json(sets.IMAGES / name / "card.json", card.model_copy(update={"name": name, "splits": splits}).model_dump())


if __name__ == "__main__":
    compute_grids(**vars(asked()))
