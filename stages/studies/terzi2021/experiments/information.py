"""What a source knows: of its data, in its weights; of an image, in its representation; of classes (Terzi et al. 2021, Figures 4 and 6)."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from stages.lib.datasets import sampling
from stages.lib.datasets.sets import card_of, load_part
from stages.lib.errors import RunError
from stages.lib.information import fisher_of_inputs, fisher_of_weights, neighbours
from stages.lib.information.weight_norm import NORM, weight_norm
from stages.lib.networks import inference
from stages.lib.networks.devices import best_device
from stages.lib.networks.pretrained import Pretrained
from stages.lib.store.tables import CORRECT, IMAGE

if TYPE_CHECKING:
    from stages.lib.runs.experiments import Run

Found = tuple[dict[str, float], dict[str, Tensor] | None]  # values by measure, and arrays


def compute(run: "Run", source: Pretrained, stored: Path | None) -> Found:
    """In a worker: `weights`, `representation` or `separation`, as the method of the run says."""
    return {"weights": weights, "representation": representation, "separation": separation}[run.method](run, source)


def weights(run: "Run", source: Pretrained) -> Found:
    """Trace of the Fisher information and mean logarithm of the variance, of all weights and under `<measure>/<weight>` of each layer.

    `damped` is the percentage of the weights whose information is less than the damping, so that the prior decides their variance.
    """
    how, network = run.how, source.network().to(best_device())
    x, _, _ = _drawn(run, "train", how["images"])
    fisher = fisher_of_weights.diagonal(network, x, card_of(run.target).image_size, how["labels"], run.seed)
    traces = fisher_of_weights.traces(fisher)
    noise = how["beta"], how["prior_std"]
    logs = fisher_of_weights.log_variances(fisher, *noise)
    every = torch.cat([diagonal.flatten() for diagonal in fisher.values()])
    values = {
        "fisher_w": sum(traces.values()),
        "log_variance": fisher_of_weights.log_variances({"": every}, *noise)[""],
        "damped": 100 * float((every < how["beta"] / (2 * how["prior_std"] ** 2)).double().mean()),
        NORM: weight_norm(network.state_dict()),
    }
    by_layer = {"fisher_w": traces, "log_variance": logs}
    of_layers = {f"{measure}/{layer}": value for measure, layers in by_layer.items() for layer, value in layers.items()}
    return values | of_layers, None


def representation(run: "Run", source: Pretrained) -> Found:
    """Mean traces over images: `fisher_z` of z = f(x) + N(0, I), `fisher_linear` of A z + b with the head's A and b, `fisher_y` of labels.

    `fisher_z_relative` is of noise with the variance that a feature has over the images, on average, in the place of 1, so that it does
    not depend on the scale of f. `label_above` is the percentage of the images with more information in the label than in z.
    """
    size, network = card_of(run.target).image_size, source.network().to(best_device())
    x, _, _ = _drawn(run, "test", run.how["images"])
    found = fisher_of_inputs.traces(network, x, size, run.how["probes"], run.seed)
    z = features_of(network, x, size)
    means = {
        "fisher_z": found.representation, "fisher_linear": found.linear, "fisher_y": found.label,
        "label_above": 100.0 * (found.label > found.representation).double(),
    }  # fmt: skip
    values = {name: float(traces.mean()) for name, traces in means.items()}
    return values | {"fisher_z_relative": values["fisher_z"] / float(z.var(0, dtype=np.float64).mean())}, None


def separation(run: "Run", source: Pretrained) -> Found:
    """Percent of the test images whose class is that of most of their neighbours among training images; and the map of some of them."""
    size, network, how = card_of(run.target).image_size, source.network().to(best_device()), run.how
    known_x, labels, _ = _drawn(run, "train", how["neighbours"]["images"])
    check_neighbours(run.target, labels, how["neighbours"]["k"])
    x, y, places = _drawn(run, "test")
    z = features_of(network, x, size)
    correct = neighbours.nearest(features_of(network, known_x, size), labels, z, how["neighbours"]["k"]) == y
    arrays = {CORRECT + "knn": torch.from_numpy(correct), IMAGE + "knn": torch.from_numpy(places)}
    if how["map"]:
        shown = sampling.stratified(y, how["map"]["images"])
        check_perplexity(run.target, len(shown), how["map"]["perplexity"])
        drawn = neighbours.map_of(z[shown], how["map"]["perplexity"])
        arrays |= {"map": torch.from_numpy(drawn), "label": torch.from_numpy(y[shown])}
    return {"knn": 100 * float(correct.mean())}, arrays


def features_of(network: torch.nn.Sequential, x: np.ndarray, size: int) -> np.ndarray:
    """What the head is given, of images: float32 [n, width]."""
    return np.concatenate(list(inference.frozen_activations(network[:-1], x, inference.View(size))))


def check_neighbours(dataset: str, labels: np.ndarray, k: int) -> None:
    """Raises RunError where a class has fewer images than neighbours vote, so that it could not win a vote of its own images."""
    counts = np.bincount(labels)
    fewest = int(counts[counts > 0].min())
    if fewest < k:
        which = f"class {int(np.flatnonzero(counts == fewest)[0])} of {dataset} has {fewest} of the training images that vote"
        raise RunError(f"params.yaml: information.neighbours.k is {k}, and {which}; allowed: 1 to {fewest}, or more images")


def check_perplexity(dataset: str, images: int, perplexity: float) -> None:
    """Raises RunError where the map has too few images for its perplexity, which is how many neighbours of an image count."""
    if perplexity >= images:
        which = f"information.map.perplexity is {perplexity:g}, and the map has {images} test images of {dataset}"
        raise RunError(f"params.yaml: {which}; allowed: below {images}")


def _drawn(run: "Run", split: str, most: int | None = None) -> tuple[Any, np.ndarray, np.ndarray]:
    """Images of a split, of the run's part of the classes, with their labels and their places in it; at most so many, drawn by class."""
    x, y = load_part(run.target, split, run.part)
    drawn = np.arange(len(y)) if most is None else sampling.stratified(y, most)
    return x[drawn], y[drawn], drawn
