"""Images from their representations alone (Salman et al. 2020, Figure 1b; Terzi et al. 2021, Algorithms 1 and 2, Figures 1, 2 and 9)."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn

from stages.lib.attacks import inversion
from stages.lib.attacks.weight_noise import Noisy
from stages.lib.datasets import pixels, sampling
from stages.lib.datasets.sets import card_of, load_part
from stages.lib.information import fisher_of_weights
from stages.lib.networks import units
from stages.lib.networks.devices import best_device
from stages.lib.networks.pretrained import Pretrained
from stages.lib.store.tables import CORRECT, IMAGE
from stages.studies.utrera2021.features import optimised

if TYPE_CHECKING:
    from stages.lib.runs.experiments import Run

POINTS = 24  # of a curve by steps, beside its beginning


def compute(run: "Run", source: Pretrained, stored: Path | None) -> tuple[dict[str, float], dict[str, Tensor]]:
    """In a worker: invert some test images, the same ones for all sources.

    Distances are percent: `pixel`, `start` and `blank` (of the inversion, of what it began as, and of an image of grey) of the mean L2
    distance of two test images of a class; `feature` of the length of the representation, and `other` that of another image of the class;
    `outline`, `start_outline` and `other_outline` are 100 (1 - r), r the correlation of the strength of edges (`optimised.outlines`).
    `recognised_<judge>` and `original_<judge>` are percent of the inversions and of the originals that a judge takes for their class.

    The arrays hold the same of each image, float32 [n]; `curve_step` [k], `curve_pixel` and `curve_feature` [k], the means after so many
    steps; and `original` and `inversion` of the first images, uint8 [pictures, H, W, 3].
    """
    how, device = run.how, best_device()
    network = optimised.network_of(source, device)
    represent, _ = units.split(network, 0)
    (x, y, places), size = drawn(run), card_of(run.target).image_size
    originals, others, strangers = (pixels.prepare(x[of], device, size) for of in (places, *companions(y, places)))
    start = optimised.noise(len(places), size, how["start_std"], run.seed).to(device) if how["start"] == "noise" else strangers
    scale = float(optimised.lengths(others - originals).mean())
    wanted = optimised.each(represent, originals)

    curve = Curve(represent, len(places), scale)
    done = []
    for rows in optimised.in_batches(len(places)):
        loss_of = objective(run, network, represent, originals[rows], wanted[rows])
        watch = curve.watcher(how["descent"]["steps"], originals[rows], wanted[rows])
        done.append(inversion.descend(start[rows], loss_of, watch=watch, **how["descent"]))
    inverted = torch.cat(done)

    blank = torch.full_like(start, optimised.GREY)
    edges = optimised.outlines(originals)
    of_images = {
        **{name: 100 * optimised.lengths(at - originals) / scale for name, at in (("pixel", inverted), ("start", start), ("blank", blank))},
        **{
            name: 100 * inversion.distance(optimised.each(represent, at), wanted) for name, at in (("feature", inverted), ("other", others))
        },
        **{
            name: 100 * (1 - (optimised.outlines(at) * edges).sum(1))
            for name, at in (("outline", inverted), ("start_outline", start), ("other_outline", others))
        },
    }
    labels = optimised.on(network, y[places])
    seen = {
        f"{name}_{judge}": right
        for name, images in (("recognised", inverted), ("original", originals))
        for judge, right in optimised.recognised(run.others, images, labels).items()
    }
    values = {name: float(each.mean()) for name, each in of_images.items()}
    values |= {name: float(100 * right.float().mean()) for name, right in seen.items()}
    arrays = {name: each.float().cpu() for name, each in of_images.items()} | curve.arrays()
    arrays |= {CORRECT + name: right.cpu() for name, right in seen.items()}
    arrays |= {IMAGE + name: torch.from_numpy(places.copy()) for name in seen}
    if how["pictures"]:
        first = shown(y[places], how["pictures"])
        arrays |= {"original": optimised.as_bytes(originals[first]), "inversion": optimised.as_bytes(inverted[first]), "place": first}
    return values, arrays


def drawn(run: "Run") -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The test images of the run's target, or of its part of the classes; their labels; and the places of those that are inverted."""
    x, y = load_part(run.target, "test", run.part)
    return x, y, sampling.stratified(y, run.how["n_images"])


def companions(y: np.ndarray, places: np.ndarray, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """For each of these images another one of its class, and one of another class, drawn from the seed; int64 [n] each.

    Where an image is the only one of its class, or all are of one class, it is any other image.
    """
    rng, every = np.random.default_rng(seed), np.arange(len(y))

    def another(place: int, same: bool) -> int:
        allowed = every[((y == y[place]) == same) & (every != place)]
        return int(rng.choice(allowed if len(allowed) else every[every != place]))

    pairs = [(another(place, True), another(place, False)) for place in places]
    same, different = np.array(pairs, dtype=np.int64).T
    return same, different


def shown(y: np.ndarray, count: int) -> Tensor:
    """Places of the images that are shown: the first of each of the first classes, then any others; int64 [count]."""
    first = np.sort(np.unique(y, return_index=True)[1])
    rest = np.setdiff1d(np.arange(len(y)), first)
    return torch.from_numpy(np.concatenate([first, rest])[:count].copy())


def objective(run: "Run", network: nn.Sequential, represent: nn.Module, originals: Tensor, wanted: Tensor) -> inversion.LossOfImages:
    """What the run lowers.

    Without noise the distance of representations; `variational`: that of a network whose noise was drawn once; `effective`: of one whose
    noise is drawn anew whenever the loss is computed, on the inversion (Algorithm 2) or on the original alone (equation 10).
    """
    if run.method == "plain":
        return inversion.matching(represent, wanted)
    noisy = noisy_of(run, network, represent)
    noisy.draw()
    if run.method == "variational":
        return inversion.matching(noisy, wanted)

    def loss_of(x: Tensor) -> Tensor:
        noisy.draw()
        if run.how["on"] == "inversion":
            return inversion.distance(noisy(x), wanted)
        with torch.no_grad():
            moved = noisy(originals)
        return inversion.distance(represent(x), moved)

    return loss_of


def noisy_of(run: "Run", network: nn.Sequential, represent: nn.Module) -> Noisy:
    """The part of the network before its head, with the noise of the run's level; F is of training images of the target."""
    generator = torch.Generator().manual_seed(run.seed)
    x, y = load_part(run.target, "train", run.part)
    of = sampling.stratified(y, run.how["images"])
    fisher = fisher_of_weights.diagonal(network, x[of], card_of(run.target).image_size, seed=run.seed)
    return Noisy(represent, fisher_of_weights.deviations(fisher, run.setting, run.how["prior_std"]), generator)


class Curve:
    """Mean distances of n images after some of the steps, gathered batch by batch."""

    def __init__(self, represent: nn.Module, n: int, scale: float):
        self.represent, self.n, self.scale = represent, n, scale
        self.sums: dict[int, np.ndarray] = {}

    def watcher(self, steps: int, originals: Tensor, wanted: Tensor) -> Callable[[int, Tensor], None]:
        """For `inversion.descend`: it looks at the images at points that are dense at first; the network has no noise here."""
        points = {0, *np.unique(np.geomspace(1, steps, POINTS).round().astype(int)).tolist()}

        @torch.no_grad()
        def watch(step: int, x: Tensor) -> None:
            if step in points:
                pixel = 100 * optimised.lengths(x - originals).sum() / self.scale
                feature = 100 * inversion.distance(self.represent(x), wanted).sum()
                self.sums[step] = self.sums.get(step, 0) + np.array([float(pixel), float(feature)])

        return watch

    def arrays(self) -> dict[str, Tensor]:
        steps = sorted(self.sums)
        pixel, feature = (torch.tensor([self.sums[step][k] / self.n for step in steps], dtype=torch.float32) for k in (0, 1))
        return {"curve_step": torch.tensor(steps), "curve_pixel": pixel, "curve_feature": feature}
