"""The last k pieces of a source drawn anew and trained on clean images of its own data (Shafahi et al. 2020, Section 3, Figure 1)."""

from stages.lib import descent, files, networks, sources, training
from stages.lib.datasets import card_of, load_part
from stages.lib.robust_transfer import Run


def compute(run: Run) -> None:
    """In a worker: retrain, test, keep; of k = 0 the source as it is."""
    card, size, device = sources.card_of(run.source), card_of(run.target).image_size, training.best_device()
    (x, y), (test_x, test_y) = (load_part(run.target, split, run.part) for split in ("train", "test"))
    weights = files.read_tensors(sources.paths(run.source)[0])
    network = descent.begin(card, weights, card.classes, run.seed, fresh=[]).to(device)
    values = {}
    if run.setting:
        fresh = networks.last_pieces(network, int(run.setting))
        network = descent.begin(card, weights, card.classes, run.seed, fresh).to(device)
        data = descent.Images(x, y, device, size, run.how["augmentation"] == "crop_flip", run.seed)
        values["images"] = descent.train(network, fresh, data, run.how, run.seed)
    n = run.measured["max_images"]
    values["train"] = descent.accuracy(network, x[:n], y[:n], size)
    run.keep(values | descent.withstood(network, test_x, test_y, size, run.measured))
