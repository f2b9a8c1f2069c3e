"""One fine-tuned model: which training images help most on each test image, and whose label they have (Utrera et al. 2021, Section 6)."""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from stages.lib.curvature import influence as last_layer
from stages.lib.curvature import sizes, spectrum
from stages.lib.curvature.head import Hessian, Points
from stages.lib.curvature.spectrum import Spectrum
from stages.lib.datasets import draws
from stages.lib.datasets.sets import card_of, load
from stages.lib.networks.pretrained import Pretrained
from stages.lib.store.tables import CORRECT, DIVERGED, IMAGE
from stages.lib.training import finetuning
from stages.studies.utrera2021.influence import agreement, models, pictures

if TYPE_CHECKING:
    from stages.lib.runs.experiments import Run

DRAWS = {"choice": draws.choice, "covering": draws.covering}
CONTROLS = {"features": agreement.by_features, "labels": agreement.by_labels}
OF_ALL = ("first", "three_of_five")  # measures of every way to score


def compute(run: "Run", source: Pretrained, stored: Path | None) -> tuple[dict[str, float], dict[str, Tensor] | None]:
    """In a worker: fine-tune, score, and compare labels; all values but `kept/<cut>`, a number of eigenvalues, are percent.

    `test` and `train` are accuracies; of each way to score, `<way>/first` and `<way>/three_of_five` are shares of the test images whose
    highest training image, or at least three of whose highest five, have their label, and `<way>/own_class` is the share of those that
    their own class helps most, on average over its training images. `ranks/<way>`, float32 [ranks], is the share by rank.
    """
    how, images = run.how, card_of(run.target)
    (x, y), (test_x, test_y) = (load(run.target, split) for split in ("train", "test"))
    rows = DRAWS[how["method"]](y, images.classes, how["n_images"], run.seed)
    network = models.fine_tuned(source, x, y, rows, images, how, run.seed)
    ways = [*inverses_of(how), *CONTROLS]
    if not finetuning.weights_are_finite(network):
        return dict.fromkeys(["test", "train", *(f"{way}/{name}" for way in ways for name in OF_ALL)], 0.0) | {DIVERGED: 1.0}, None
    found = Found(models.seen(network, x, y, images.image_size, rows), models.seen(network, test_x, test_y, images.image_size), how)
    return found.values(), found.arrays() | (pictures.of_run(found, x[rows], test_x) if how["pictures"] else {})


def inverses_of(how: dict[str, Any]) -> list[str]:
    """Names of the inverses of the Hessian by which images are scored, the one that is shown first."""
    return [*(f"cut_{cut:g}" for cut in how["cuts"]), *(f"damped_{damping:g}" for damping in how["damping"])]


def spectrum_of(hessian: Hessian, how: dict[str, Any]) -> Spectrum:
    """All eigenvalues, where they find room; else those above the lowest cut."""
    if sizes.needs_all(how["cuts"], how["damping"]) or sizes.bytes_of(hessian.size) <= how["memory"]:
        return spectrum.all_of(hessian)
    return spectrum.above(hessian, min(how["cuts"]), how["memory"])


class Found:
    """What is asked of one model; images and their labels are on its device."""

    def __init__(self, train: Points, test: Points, how: dict[str, Any]):
        self.train, self.test = train, test
        self.hessian = Hessian(train)
        self.spectrum = spectrum_of(self.hessian, how)
        cuts = {f"cut_{cut:g}": self.spectrum.cut(cut) for cut in how["cuts"]}
        self.inverses = cuts | {f"damped_{damping:g}": self.spectrum.damped(damping) for damping in how["damping"]}
        self.kept = {name: int((values > 0).sum()) for name, values in cuts.items()}
        self.shown = next(iter(self.inverses))
        self.top, self.same, self.own = {}, {}, {}
        self._rank(self.scores(self.inverses), how["ranks"])
        for way, scored in CONTROLS.items():
            self._rank(((places, {way: scores}) for places, scores in scored(train, test)), how["ranks"])

    def _rank(self, scored: Iterator[tuple[slice, dict[str, Tensor]]], ranks: int) -> None:
        parts: dict[str, list[tuple[Tensor, ...]]] = defaultdict(list)
        for places, of_ways in scored:
            for way, scores in of_ways.items():
                parts[way].append(agreement.ranked(scores, self.train.labels, self.test.labels[places], ranks))
        for way, of_way in parts.items():
            self.top[way], self.same[way], self.own[way] = (torch.cat(part) for part in zip(*of_way, strict=True))

    def scores(self, ways: Iterable[str]) -> Iterator[tuple[slice, dict[str, Tensor]]]:
        """Places of test images, and the influence of each training image on them by some of the inverses."""
        return last_layer.scores(self.hessian, self.spectrum, {way: self.inverses[way] for way in ways}, self.train, self.test)

    def correct(self) -> dict[str, Tensor]:
        """Of each test image, by the name of a measure in percent: bool [n_test]."""
        found = {"test": self.test.probabilities.argmax(1) == self.test.labels}
        for way, same in self.same.items():
            found |= {f"{way}/{name}": correct for name, correct in agreement.measures(same).items()}
        return found | {f"{way}/own_class": self.own[way] for way in self.inverses}

    def values(self) -> dict[str, float]:
        accuracy = (self.train.probabilities.argmax(1) == self.train.labels).double().mean()
        percent = {name: float(100 * correct.double().mean()) for name, correct in self.correct().items()}
        return percent | {"train": float(100 * accuracy)} | {f"kept/{name}": float(count) for name, count in self.kept.items()}

    def arrays(self) -> dict[str, Tensor]:
        """The shares by rank of every way to score; and which test images were correct, of the test and of what is shown."""
        arrays = {f"ranks/{way}": (100 * same.double().mean(0)).float().cpu() for way, same in self.same.items()}
        places = torch.arange(len(self.test.labels))
        for name, correct in self.correct().items():
            if name in ("test", *(f"{way}/{each}" for way in (self.shown, "features") for each in OF_ALL)):
                arrays |= {CORRECT + name: correct.cpu(), IMAGE + name: places.clone()}
        return arrays
