"""Features of the user's images under each frozen source, computed once in the pipeline's store of activations, and their scores."""

import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from stages.lib.progress import bar
from stages.lib.runs import computing
from stages.lib.store import cells, code, files
from stages.lib.workers import executors
from stages.recommending.clock import Clock, TimeUp
from stages.recommending.computing.candidates import Candidate
from stages.recommending.computing.trials import Arm, Trials
from stages.recommending.deciding import proxies
from stages.recommending.images.draws import Draws

KIND = "recommend_proxies"
WORK = {"proxies": "stages.recommending.deciding.proxies"}  # the code that scores: a table of choices (`choice.py`)


@dataclass(frozen=True)
class Scored:
    """A source by its frozen features."""

    linear: list[float]  # accuracy in percent of a linear head, a value for each draw
    neighbours: list[float]  # of the nearest neighbours
    log_me: float
    h_score: float
    seconds: float  # that the features took; 0 where the store held them

    @property
    def best(self) -> np.ndarray:
        """The better of the two heads, by its mean: percent for each draw."""
        return np.array(max(self.linear, self.neighbours, key=np.mean))


def score(
    trials: Trials, candidates: Sequence[Candidate], seeds: list[int], draws: Draws, clock: Clock, seconds: float
) -> dict[str, Scored]:
    """The scores of each source that has features, as far as the time goes; the first ones come first."""
    found: dict[str, Scored] = {}
    pretrained = [one for one in candidates if one.card.classes is not None]
    try:
        with (
            clock.at_most(seconds),
            executors.workers(trials.grid, computing.PRELOAD) as workers,
            bar(title="features of the images", total=len(pretrained), unit="source") as progress,
        ):
            for candidate in pretrained:
                found[candidate.name] = _score(trials, candidate, seeds, draws, workers)
                progress.update()
    except TimeUp:
        pass
    return found


def _score(trials: Trials, candidate: Candidate, seeds: list[int], draws: Draws, workers: executors.Workers) -> Scored:
    plan = trials.plan(candidate.name, [Arm(candidate.name, "0")], seeds, draws)
    computing.open_inputs(plan.job)
    started = time.monotonic()
    kept = computing.keep_activations(plan, {0}, workers, int(trials.grid.cache_gib * computing.GIB))
    taken = time.monotonic() - started
    stored = next((entry.stored for entry in kept if entry.split == "train"), None)
    if stored is None:
        return Scored([np.nan] * len(seeds), [np.nan] * len(seeds), np.nan, np.nan, taken)
    key = files.digest_of(
        [stored.sha256, plan.job.target_sha256, [cell.key for cell in plan.cells], draws.n_labels, code.digest(WORK["proxies"])]
    )
    known = cells.load(KIND, key)
    if known is None:
        known = _computed(stored.load(), stored.places, draws, seeds) | {"seconds": taken}
        cells.save(KIND, key, known)
    return Scored(**known)


def _computed(features: np.ndarray, places, draws: Draws, seeds: list[int]) -> dict:
    linear, neighbours = [], []
    for seed in seeds:
        learnt, tested = draws.draw(seed)
        x, test = proxies.standardised(features[places(learnt)], features[places(tested)])
        y, truth = draws.y[learnt], draws.y[tested]
        linear.append(100 * float(np.mean(proxies.linear(x, y, test) == truth)))
        neighbours.append(100 * float(np.mean(proxies.neighbours(x, y, test) == truth)))
    learnt, _ = draws.draw(seeds[0])
    [x] = proxies.standardised(features[places(learnt)])
    y = draws.y[learnt]
    return {"linear": linear, "neighbours": neighbours, "log_me": proxies.log_me(x, y), "h_score": proxies.h_score(x, y)}
