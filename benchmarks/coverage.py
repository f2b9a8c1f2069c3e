"""How often the report's 95 % intervals hold the true mean, against Student's and the percentile bootstrap: by simulation.

Run it with `python -m benchmarks.coverage`; it takes two minutes on one core.
"""

from collections.abc import Callable

import numpy as np
from scipy import stats

from stages.lib.report import statistics

TRIALS, RESAMPLES, SIZES = 20_000, 1000, (5, 10, 20, 30)
Draw = Callable[[np.random.Generator, tuple[int, int]], np.ndarray]
DRAWN: dict[str, tuple[Draw, float]] = {
    "normal": (lambda rng, shape: rng.normal(3, 2, shape), 3.0),
    "accuracies near 98 %, skewness -1": (lambda rng, shape: 100 * rng.beta(196, 4, shape), 98.0),
    "99 % of 797 test images": (lambda rng, shape: rng.binomial(797, 0.99, shape) / 7.97, 99.0),
    "lognormal, skewness 1.8": (lambda rng, shape: np.exp(0.5 * rng.standard_normal(shape)), float(np.exp(0.125))),
    "exponential, skewness 2": (lambda rng, shape: rng.exponential(size=shape), 1.0),
}


def ours(x: np.ndarray) -> np.ndarray:
    return np.array([statistics.interval(row)[1:] for row in x])


def student(x: np.ndarray) -> np.ndarray:
    half = stats.sem(x, axis=1) * stats.t.ppf(0.975, x.shape[1] - 1)
    return np.stack([x.mean(1) - half, x.mean(1) + half], 1)


def bootstrap(x: np.ndarray) -> np.ndarray:
    """Percentile bootstrap of the mean."""
    drawn = np.random.default_rng(0).integers(x.shape[1], size=(RESAMPLES, x.shape[1]))
    return np.array([np.percentile(row[drawn].mean(1), [2.5, 97.5]) for row in x])


def main() -> None:
    print("| values | n | here | Student | percentile bootstrap | width, here / Student |\n|---|---|---|---|---|---|")
    for name, (draw, mean) in DRAWN.items():
        for n in SIZES:
            x = draw(np.random.default_rng(n), (TRIALS, n))
            intervals = {"here": ours(x), "student": student(x), "bootstrap": bootstrap(x[: TRIALS // 4])}
            held = [f"{100 * np.mean((i[:, 0] <= mean) & (mean <= i[:, 1])):.1f} %" for i in intervals.values()]
            wide, narrow = (np.median(np.diff(intervals[key])) for key in ("here", "student"))
            print(f"| {name} | {n} | {' | '.join(held)} | {wide / narrow:.2f} |", flush=True)


if __name__ == "__main__":
    main()
