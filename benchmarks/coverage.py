"""How often the report's 95 % intervals hold the true mean, against those of Student and of two bootstraps: by simulation.

Run it with `python -m benchmarks.coverage`, after `make repro`; it takes a few minutes on one core. It also says how skewed the
accuracies of the report are, beside what chance alone makes of values without skewness.
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
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


def studentised(x: np.ndarray) -> np.ndarray:
    """Bootstrap of the studentised mean, equal-tailed; a resample of equal values is as far out as can be."""
    n = x.shape[1]
    drawn, found = np.random.default_rng(0).integers(n, size=(RESAMPLES, n)), []
    for row in x:
        resampled, mean = row[drawn], row.mean()
        with np.errstate(divide="ignore", invalid="ignore"):
            t = np.nan_to_num((resampled.mean(1) - mean) / stats.sem(resampled, axis=1), nan=0.0, posinf=np.inf, neginf=-np.inf)
        low, high = np.quantile(t, [0.025, 0.975], method="inverted_cdf")
        found.append((mean - high * stats.sem(row), mean - low * stats.sem(row)))
    return np.array(found)


def skewness(x: np.ndarray) -> np.ndarray:
    """Of each row, as `statistics.interval` has it: the third moment over the cube of the standard deviation."""
    return ((x - x.mean(1, keepdims=True)) ** 3).mean(1) / x.std(1, ddof=1) ** 3


def of_the_report() -> str:
    """The skewness of the accuracies of each setting with ten runs."""
    runs = statistics.last_epoch(pd.read_csv(Path("reports/tables/runs.csv")))
    groups = [g["test_accuracy"].to_numpy() for _, g in runs.groupby(["source", "target", "blocks", "n_images"]) if len(g) == 10]
    ours, chance = skewness(np.stack(groups)), skewness(np.random.default_rng(0).normal(size=(TRIALS, 10)))
    return (
        f"{len(groups)} settings of ten runs: skewness {ours.mean():.2f} on average, scatter {ours.std():.2f}; by chance {chance.std():.2f}"
    )


def main() -> None:
    print(
        "| values | n | here | Student | percentile bootstrap | studentised bootstrap | width to Student's: here | studentised bootstrap |"
    )
    print("|---|---|---|---|---|---|---|---|")
    for name, (draw, mean) in DRAWN.items():
        for n in SIZES:
            x = draw(np.random.default_rng(n), (TRIALS, n))
            few = x[: TRIALS // 4]
            intervals = [ours(x), student(x), bootstrap(few), studentised(few)]
            held = [f"{100 * np.mean((i[:, 0] <= mean) & (mean <= i[:, 1])):.1f} %" for i in intervals]
            here, narrow, _, wide = (np.median(np.diff(i)) for i in intervals)
            print(f"| {name} | {n} | {' | '.join(held)} | {here / narrow:.2f} | {wide / narrow:.2f} |", flush=True)
    print(f"\n{of_the_report()}")


if __name__ == "__main__":
    main()
