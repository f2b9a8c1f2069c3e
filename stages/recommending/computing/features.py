"""Features of the user's images under each frozen source, computed once in the pipeline's store of activations, and their scores."""

import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from stages.lib.progress import bar
from stages.lib.runs import computing
from stages.lib.store import cells, code, files
from stages.lib.workers import executors
from stages.recommending.clock import Clock, TimeUp
from stages.recommending.computing.candidates import Candidate
from stages.recommending.computing.trials import Trials
from stages.recommending.deciding import proxies
from stages.recommending.deciding.arms import Arm, Scored
from stages.recommending.images.draws import Draws

KIND = "recommend_proxies"
WORK = {"proxies": "stages.recommending.deciding.proxies"}  # the code that scores: a table of choices (`choice.py`)


def score(
    trials: Trials, candidates: Sequence[Candidate], seeds: list[int], draws: Draws, clock: Clock, seconds: float,
    workers: executors.Workers,
) -> dict[str, Scored]:  # fmt: skip
    """The scores of each source that has features, as far as the time goes; the first ones come first."""
    found: dict[str, Scored] = {}
    pretrained = [one for one in candidates if one.card.classes is not None]
    try:
        with (
            clock.at_most(seconds),
            bar(title="features of the images", total=len(pretrained), unit="source") as progress,
        ):
            for candidate in pretrained:
                found[candidate.name] = _score(trials, candidate, seeds, draws, workers)
                progress.update()
    except TimeUp:
        pass
    return found


def _score(trials: Trials, candidate: Candidate, seeds: list[int], draws: Draws, workers: executors.Workers) -> Scored:
    plan = trials.plan(candidate.name, {Arm(candidate.name, "0"): seeds}, draws)
    computing.open_inputs(plan.job)
    started = time.monotonic()
    kept = computing.keep_activations(plan, {0}, workers, int(trials.grid.cache_gib * computing.GIB))
    taken = time.monotonic() - started
    stored = next((entry.stored for entry in kept if entry.split == "train"), None)
    if stored is None:
        nothing = [np.nan] * len(seeds)
        return Scored(nothing, nothing, nothing, np.nan, np.nan, taken)
    key = files.digest_of(
        [stored.sha256, plan.job.target_sha256, [cell.key for cell in plan.cells], draws.n_labels, code.digest(WORK["proxies"])]
    )
    known = cells.load(KIND, key)
    if known is None:
        known = _computed(stored.load(), stored.places, draws, seeds) | {"seconds": taken}
        cells.save(KIND, key, known)
    return Scored(**known)


def _computed(features: np.ndarray, places: Callable[[np.ndarray], np.ndarray], draws: Draws, seeds: list[int]) -> dict[str, Any]:
    """All scores; features: [rows, ...], and `places`: the rows of some images."""
    linear, neighbours, nearest = [], [], []
    for seed in seeds:
        learnt, tested = draws.draw(seed)
        x, test = proxies.standardised(features[places(learnt)], features[places(tested)])
        y, truth = draws.y[learnt], draws.y[tested]
        linear.append(_percent(proxies.linear(x, y, test) == truth))
        neighbours.append(_percent(proxies.neighbours(x, y, test) == truth))
        nearest.append(_percent(proxies.neighbours(x, y, test, 1) == truth))
    learnt, _ = draws.draw(seeds[0])
    [x] = proxies.standardised(features[places(learnt)])
    y = draws.y[learnt]
    of_one = {"log_me": proxies.log_me(x, y), "h_score": proxies.h_score(x, y)}
    return {"linear": linear, "neighbours": neighbours, "nearest": nearest} | of_one


def _percent(right: np.ndarray) -> float:
    return 100 * float(np.mean(right))
