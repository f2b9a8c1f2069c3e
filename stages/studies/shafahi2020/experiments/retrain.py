"""The last k pieces of a source drawn anew and trained on clean images of its own data (Shafahi et al. 2020, Section 3, Figure 1)."""

from pathlib import Path
from typing import TYPE_CHECKING

from torch import Tensor

from stages.lib.datasets.sets import card_of, load, load_part, only
from stages.lib.networks import units
from stages.lib.networks.devices import best_device
from stages.lib.networks.pretrained import Pretrained
from stages.lib.training import descent
from stages.studies.shafahi2020.experiments.testing import tested

if TYPE_CHECKING:
    from stages.lib.runs.experiments import Run


def compute(run: "Run", source: Pretrained, stored: Path | None) -> tuple[dict[str, float], dict[str, Tensor]]:
    """In a worker: retrain and test; of k = 0 the source as it is."""
    size, device = card_of(run.target).image_size, best_device()
    (x, y), test = (load_part(run.target, split, run.part) for split in ("train", "test"))
    k = int(run.setting)
    network = descent.begin(source.architecture, source.tensors(), source.classes, run.seed, fresh=k).to(device)
    values = {}
    if k:
        how = descent.of_images(run.how, len(y))
        data = descent.Images(x, y, device, size, how["augmentation"] == "crop_flip", run.seed)
        values["images"] = descent.train(network, units.last_pieces(network, k), data, how, run.seed)
    places, _ = only(run.part, card_of(run.target).classes, load(run.target, "test")[1])
    percent, correct = tested(network, (x, y), (*test, places), size, run.measured)
    return values | percent, correct
