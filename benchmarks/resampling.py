"""How often intervals over divisions of the same images hold the truth, with the correction of Nadeau and Bengio and without: simulated.

Each trial draws images from a population, divides them again and again, trains linear classifiers on two views of the training images
(a ridge regression on some of the features), and tests them on the test images. The truth is the mean accuracy of classifiers that are
trained on as many images of the population, tested on many others. Run it with `python -m benchmarks.resampling`; it takes two minutes
on one core.
"""

import argparse

import numpy as np

from stages.lib.report.intervals import resampled
from stages.lib.report.statistics import LEVEL

FEATURES, CLASSES, NOISE = 24, 3, 1.3
VIEWS = (slice(0, 10), slice(4, 14), slice(12, 24))  # the features that each arm sees: two that are as good, and one that is worse
LARGE = 4000  # images that stand for the population


def draw(rng: np.random.Generator, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Images as features, float [n, FEATURES], and their labels."""
    y = rng.integers(CLASSES, size=n)
    centres = np.random.default_rng(7).normal(size=(CLASSES, FEATURES)) * np.r_[np.ones(14), 0.8 * np.ones(FEATURES - 14)]
    return centres[y] + NOISE * rng.normal(size=(n, FEATURES)) * 1.8, y


def accuracy(train: tuple[np.ndarray, np.ndarray], test: tuple[np.ndarray, np.ndarray], view: slice) -> float:
    """Percent of the test images that a ridge regression on the view labels correctly."""
    x, y = train[0][:, view], np.eye(CLASSES)[train[1]]
    centre = x.mean(0)
    weights = np.linalg.solve((x - centre).T @ (x - centre) + np.eye(x.shape[1]), (x - centre).T @ (y - y.mean(0)))
    return 100 * float(np.mean(((test[0][:, view] - centre) @ weights + y.mean(0)).argmax(1) == test[1]))


def truths(rng: np.random.Generator, n_train: int) -> list[float]:
    """The accuracy of each arm in the population."""
    test = draw(rng, 5 * LARGE)
    trained = [draw(rng, n_train) for _ in range(200)]
    return [float(np.mean([accuracy(train, test, view) for train in trained])) for view in VIEWS]


def divided(rng: np.random.Generator, n_all: int, n_train: int, n_test: int, divisions: int) -> np.ndarray:
    """Accuracies [arms, divisions] on divisions of one draw of `n_all` images."""
    x, y = draw(rng, n_all)
    scores = np.empty((len(VIEWS), divisions))
    for j in range(divisions):
        order = rng.permutation(n_all)
        train, test = order[:n_train], order[n_train : n_train + n_test]
        scores[:, j] = [accuracy((x[train], y[train]), (x[test], y[test]), view) for view in VIEWS]
    return scores


def held(trials: int, n_all: int, n_train: int, n_test: int, divisions: int) -> dict[str, float]:
    """Percent of the trials in which each statement is true."""
    rng = np.random.default_rng([n_all, n_train, n_test, divisions])
    true = np.array(truths(rng, n_train))
    share, names = resampled.shared(n_test, n_all), ("mean", "difference", "difference, not corrected", "the best one is kept")
    count = dict.fromkeys(names, 0)
    for _ in range(trials):
        scores = divided(rng, n_all, n_train, n_test, divisions)
        _, low, high = resampled.interval(scores[0], share)
        count["mean"] += low <= true[0] <= high
        difference = true[0] - true[2]
        for name, of in (("difference", share), ("difference, not corrected", 0.0)):
            _, low, high = resampled.interval(scores[0] - scores[2], of)
            count[name] += low <= difference <= high
        count["the best one is kept"] += resampled.compare(scores, share)[int(true.argmax())].may_be_best
    return {name: 100 * of / trials for name, of in count.items()}


def main(trials: int) -> None:
    print(f"intervals of {100 * LEVEL:.0f} %, {trials} trials each")
    print("| images | trained on | tested on | divisions | mean | difference | difference, not corrected | the best one is kept |")
    print("|---|---|---|---|---|---|---|---|")
    for setting in (
        (210, 100, 110, 10),
        (210, 100, 52, 5),
        (210, 100, 52, 10),
        (210, 100, 52, 20),
        (100, 50, 25, 10),
        (1000, 100, 250, 10),
    ):
        shown = held(trials, *setting)
        print(f"| {' | '.join(map(str, setting))} | {' | '.join(f'{percent:.1f} %' for percent in shown.values())} |", flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=1000)
    main(parser.parse_args().trials)
