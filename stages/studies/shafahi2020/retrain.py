"""The last k pieces of a source drawn anew and trained on clean images of its own data (Shafahi et al. 2020, Section 3, Figure 1)."""

from stages.lib.datasets.sets import card_of, load_part
from stages.lib.networks import sources, units
from stages.lib.networks.devices import best_device
from stages.lib.runs.experiments import Run
from stages.lib.store import files
from stages.lib.training import descent


def compute(run: Run) -> None:
    """In a worker: retrain, test, keep; of k = 0 the source as it is."""
    card, size, device = sources.card_of(run.source), card_of(run.target).image_size, best_device()
    (x, y), test = (load_part(run.target, split, run.part) for split in ("train", "test"))
    weights = files.read_tensors(sources.paths(run.source)[0])
    k = int(run.setting)
    network = descent.begin(card, weights, card.classes, run.seed, fresh=k).to(device)
    values = {}
    if k:
        data = descent.Images(x, y, device, size, run.how["augmentation"] == "crop_flip", run.seed)
        values["images"] = descent.train(network, units.last_pieces(network, k), data, run.how, run.seed)
    run.keep(values | descent.tested(network, (x, y), test, size, run.measured))
