"""What each arm is expected to reach: from its own draws, else from other numbers of blocks of its source, else from features."""

import numpy as np

from stages.recommending.deciding.arms import Arm

SLOPE = 0.5  # points after fine-tuning that a point of the features is worth
UNTRIED = 2.0  # points that a number of blocks without any run is taken to be above the best of the others
CARRIED = 0.5  # of what a source is better with one number of blocks, how much is expected with another


def of(arms: list[Arm], values: np.ndarray, features: dict[str, float]) -> np.ndarray:
    """Percent for each arm, comparable between arms.

    Args:
        values: [arms, draws], accuracies in percent; NaN where a run is not done.
        features: the accuracy of each source by its features, where that is known.
    """
    own = adjusted(values)
    known, sources = np.isfinite(own), np.array([arm.source for arm in arms])
    worth = np.array([features.get(arm.source, min(features.values(), default=0.0)) for arm in arms])
    if not known.any():
        return worth
    level = {blocks: _level([i for i, arm in enumerate(arms) if arm.blocks == blocks], own, worth) for blocks in {a.blocks for a in arms}}
    found = own.copy()
    for i in np.flatnonzero(~known):
        at = level[arms[i].blocks]
        if np.isnan(at):  # no source has a run with so many blocks: it is worth a try
            at = float(np.nanmax(list(level.values()))) + UNTRIED
        others = [own[j] - level[arms[j].blocks] - SLOPE * worth[j] for j in np.flatnonzero(known & (sources == sources[i]))]
        found[i] = at + SLOPE * worth[i] + (CARRIED * float(np.mean(others)) if others else 0.0)
    return found


def adjusted(values: np.ndarray) -> np.ndarray:
    """The mean of each row over its draws, freed of how hard these are: percent [arms], NaN without any.

    Draws are as hard as the arms with most draws find them.
    """
    n = np.isfinite(values).sum(1)
    if not n.any():
        return np.full(len(values), np.nan)
    whole = values[n == n.max()][:, : n.max()]
    hard = whole.mean(0)
    return np.array([
        np.nan if not k else float(np.mean(row[:k] - hard[:k])) + float(hard.mean()) for row, k in zip(values, n, strict=True)
    ])  # fmt: skip


def _level(places: list[int], own: np.ndarray, worth: np.ndarray) -> float:
    """What a number of blocks reaches beside what the features let expect: the mean over the sources that have a run with it."""
    known = [own[i] - SLOPE * worth[i] for i in places if np.isfinite(own[i])]
    return float(np.mean(known)) if known else np.nan
