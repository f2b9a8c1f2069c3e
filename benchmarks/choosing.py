"""How often the best of several radii is found to differ from natural where all are equal: `studies/salman2020/choosing`, by simulation.

Accuracies are pure noise, of as many source models (parts) and robust radii as the table says. A verdict is an interval of 95 % that
excludes zero, which 5 of 100 do. Beside the halves, which choose for one another, stands leaving out one part at a time.

Run it with `python -m benchmarks.choosing`; it takes five minutes on one core.
"""

from collections.abc import Callable
from itertools import product

import numpy as np
import pandas as pd

from stages.lib.report import statistics
from stages.studies.salman2020 import choosing

TRIALS, PARTS, RADII = 2000, (4, 5, 8, 20), (3, 7, 10)


def halves(values: np.ndarray) -> np.ndarray:
    """Differences of the parts, as the report has them; values: [parts, 1 + radii], of which the first is natural."""
    columns = pd.MultiIndex.from_tuples([("one", float(eps)) for eps in range(values.shape[1])])
    return choosing.measured_of(pd.DataFrame(values, columns=columns))["difference"].to_numpy(dtype=float)


def one_left_out(values: np.ndarray) -> np.ndarray:
    """The same where all other parts choose for each part."""
    others = (values.sum(0) - values)[:, 1:]
    rows = np.arange(len(values))
    return values[rows, 1 + others.argmax(1)] - values[:, 0]


def verdicts(measure: Callable[[np.ndarray], np.ndarray], parts: int, radii: int) -> float:
    """Percent of the trials with an interval that excludes zero."""
    rng, excluded = np.random.default_rng([parts, radii]), 0
    for _ in range(TRIALS):
        differences = measure(rng.normal(size=(parts, 1 + radii)))
        _, low, high = statistics.interval(differences, np.arange(parts), statistics.DIFFERENCE)
        excluded += not low <= 0 <= high
    return 100 * excluded / TRIALS


def main() -> None:
    print("| parts | radii | halves | one left out |")
    print("|---|---|---|---|")
    for parts, radii in product(PARTS, RADII):
        print(f"| {parts} | {radii} | {verdicts(halves, parts, radii):.1f} % | {verdicts(one_left_out, parts, radii):.1f} % |", flush=True)


if __name__ == "__main__":
    main()
