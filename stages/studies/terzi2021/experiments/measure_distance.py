"""The earth mover's distance between the data of a source and a target (Cui et al. 2018, Section 4.1; Terzi et al. 2021, Section 5).

Of each class the mean of its training images' features is taken, of the layer before the head. A class weighs as much as its share of the
images; what is moved from one class to another goes as far as their means are apart (Euclid). All of it is in the key of a run.
"""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from stages.lib.errors import RunError
from stages.lib.networks.pretrained import Pretrained
from stages.lib.store import files
from stages.studies.terzi2021.experiments.class_means import class_means

if TYPE_CHECKING:
    from stages.lib.runs.experiments import Run

MOST_ITERATIONS = 10_000_000  # of the network simplex; a thousand classes need less than a hundred thousand


def compute(run: "Run", source: Pretrained, stored: Path) -> tuple[dict[str, float], None]:
    """In a worker: the distance `emd`, in units of the features.

    Args:
        stored: the class means of the source's own data, as `class_means` gives them.
    """
    own = {name: tensor.numpy() for name, tensor in files.read_tensors(stored).items()}
    target = {name: tensor.numpy() for name, tensor in class_means(source, run.target, None, run.how["per_class"]).items()}
    frequent = own["counts"] >= run.how["least"]
    if not frequent.any():
        most = int(own["counts"].max())
        raise RunError(
            f"measure_distance.least is {run.how['least']}, and no class of {source.name} has so many images; allowed: 1 to {most}"
        )
    return {"emd": earth_movers(own["means"][frequent], own["counts"][frequent], target["means"], target["counts"])}, None


def earth_movers(left: np.ndarray, left_counts: np.ndarray, right: np.ndarray, right_counts: np.ndarray) -> float:
    """The earth mover's distance of two sets of points, [m, width] and [n, width], that weigh as their counts say; exact."""
    import ot  # here, as it takes a second to import
    from scipy.spatial.distance import cdist

    weights = [counts / counts.sum() for counts in (left_counts, right_counts)]
    distance, log = ot.emd2(*weights, cdist(left, right), numItermax=MOST_ITERATIONS, log=True)
    if log["warning"]:
        raise RunError(f"the earth mover's distance was not found: {log['warning']}")
    return float(distance)
