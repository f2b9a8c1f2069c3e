"""Features of a source as images: an activation is raised as far as it goes (Utrera et al. 2021, Figure 1; Salman et al. 2020, 1a)."""

from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from stages.lib.attacks import inversion
from stages.lib.datasets import pixels, sampling
from stages.lib.datasets.sets import card_of, load_part
from stages.lib.errors import RunError
from stages.lib.networks import units
from stages.lib.networks.devices import best_device
from stages.lib.networks.pretrained import Pretrained
from stages.lib.store.tables import CORRECT
from stages.studies.utrera2021.features import optimised

if TYPE_CHECKING:
    from stages.lib.runs.experiments import Run


def compute(run: "Run", source: Pretrained, stored: Path | None) -> tuple[dict[str, float], dict[str, Tensor]]:
    """In a worker: raise each feature from each start; all of them are one batch, or several of equal size.

    A feature stands for a class: of the head, the class itself; of the penultimate layer, the one that the head weighs it most for.
    `recognised_<judge>` and `start_<judge>` are percent of the images, after and before, that a judge takes for this class; `moved` is
    the mean L2 distance from the start, in pixel units; `raised` by how much the activation rises, on average.

    The arrays hold `correct/recognised_<judge>`, bool [features x starts], feature by feature; `feature` and `class`, int64; and of the
    first features, from the first start, `feature_shown`, and `before` and `after`, uint8 [pictures, H, W, 3].
    """
    how, device = run.how, best_device()
    network = optimised.network_of(source, device)
    head, represent = network.head, network if run.method == "classes" else units.split(network, 0)[0]
    features = chosen(how["features"], head.out_features if run.method == "classes" else head.in_features, source.name)
    classes = features if run.method == "classes" else head.weight.argmax(0).cpu()[features]
    starts = starts_of(run).to(device)
    grid = [pair.flatten() for pair in torch.meshgrid(torch.arange(len(features)), torch.arange(len(starts)), indexing="ij")]
    feature, wanted, start = features[grid[0]].to(device), classes[grid[0]].to(device), starts[grid[1].to(device)]

    images = torch.cat([
        inversion.descend(start[rows], inversion.raising(represent, feature[rows]), **how["descent"])
        for rows in optimised.in_batches(len(start))
    ])  # fmt: skip
    before, after = (activations(represent, at, feature) for at in (start, images))
    seen = {
        f"{name}_{judge}": right
        for name, at in (("recognised", images), ("start", start))
        for judge, right in optimised.recognised(run.others, at, wanted).items()
    }
    values = {"moved": float(optimised.lengths(images - start).mean()), "raised": float((after - before).mean())}
    values |= {name: float(100 * right.float().mean()) for name, right in seen.items()}
    arrays = {CORRECT + name: right.cpu() for name, right in seen.items()} | {"feature": feature.cpu(), "class": wanted.cpu()}
    if how["pictures"]:
        first = torch.arange(0, len(start), len(starts))[: how["pictures"]].to(device)
        arrays |= {
            "before": optimised.as_bytes(start[first]),
            "after": optimised.as_bytes(images[first]),
            "feature_shown": feature[first].cpu(),
        }
    return values, arrays


@torch.no_grad()
def activations(represent: torch.nn.Module, x: Tensor, features: Tensor) -> Tensor:
    """The activation of one feature for each image, [n]."""
    return torch.cat([-inversion.raising(represent, features[rows])(x[rows]) for rows in optimised.in_batches(len(x))])


def chosen(features: list[int] | str, width: int, source: str) -> Tensor:
    """The features that are raised, int64 [k]; raises RunError for one that the layer does not have."""
    if features == "all":
        return torch.arange(width)
    if beyond := [k for k in features if k >= width]:
        raise RunError(f"visualise.features: {beyond[0]} is beyond the {width} of {source}; allowed: 0 to {width - 1}, or all")
    return torch.tensor(features)


def starts_of(run: "Run") -> Tensor:
    """Images to begin from, the same ones for all sources: noise, or test images; float [n_starts, 3, size, size] in [0, 1]."""
    how, size = run.how, card_of(run.target).image_size
    if how["from_noise"]:
        return optimised.noise(how["n_starts"], size, how["start_std"], run.seed)
    x, y = load_part(run.target, "test", run.part)
    return pixels.prepare(x[sampling.stratified(y, how["n_starts"])], size=size)
