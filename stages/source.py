"""A source model: trained naturally or adversarially, fetched, or none at all (`random`), as models/catalog.yaml says.

Reads data/images/<source dataset>/, models/catalog.yaml: <source>, params.yaml: source, download. Writes
models/sources/<source>.safetensors and its card <source>.json. Training goes on from its last epoch after a kill.
"""

from pathlib import Path

import torch
from torch import nn

from stages.lib import attacks, cells, code, command, files, finetuning, networks, params, sources, training
from stages.lib.catalog import AnySource, Fetched, Random, Trained
from stages.lib.datasets import IMAGES, card_of, load
from stages.lib.errors import RunError
from stages.lib.fetch import fetch
from stages.lib.journal import Journal, execution
from stages.lib.progress import bar, say
from stages.lib.settings import DownloadSettings, SourceSettings


def main(source: str) -> None:
    settings, download, entry = params.section("source"), params.section("download"), params.source_entry(source)
    shown = settings.model_dump() | {source: entry.model_dump()}
    inputs = [] if isinstance(entry, Random) else [IMAGES / settings.dataset]
    with execution("source", source, settings=shown, inputs=inputs, outputs=list(sources.paths(source))) as journal:
        if isinstance(entry, Random):
            sources.save(card(source, entry, origin="weights drawn from each run's seed"), {})
            return
        if isinstance(entry, Fetched):
            network, origin = fetched(source, entry, download), entry.address
        else:
            network, origin = trained(source, entry, settings, journal), f"trained on {settings.dataset} by this pipeline"
        accuracy = accuracies(network, settings.dataset)
        journal.metrics({f"{split}_accuracy": value for split, value in accuracy.items()})
        sources.save(card(source, entry, origin, network, accuracy), network.state_dict())


def card(
    name: str, entry: AnySource, origin: str, network: nn.Sequential | None = None, accuracy: dict[str, float] | None = None
) -> sources.Card:
    """What is known of the source; without a network, of `random`."""
    normalise = networks.Normalise([0.5] * 3, [0.25] * 3) if network is None else network.normalise
    threat = None if isinstance(entry, Random) else entry.threat
    return sources.Card(
        name=name,
        kind=entry.kind,
        architecture=entry.architecture,
        classes=network.head.out_features if network else None,
        dataset=None if isinstance(entry, Random) else entry.dataset,
        threat=sources.ThreatCard(**threat.model_dump()) if threat else None,
        origin=origin,
        sha256="",  # set as it is saved
        mean=normalise.mean.flatten().tolist(),
        std=normalise.std.flatten().tolist(),
        accuracy=accuracy or {},
    )


def accuracies(network: nn.Sequential, dataset: str) -> dict[str, float]:
    """Percent on each test split of the source data, where it has the classes of the network."""
    card = card_of(dataset)
    if card.classes != network.head.out_features:
        return {}
    model = finetuning.Model(nn.Identity(), network, finetuning.View(card.image_size))
    return {split: finetuning.accuracy(model, *load(dataset, split)) for split in card.splits if split != "train"}


def fetched(name: str, entry: Fetched, download: DownloadSettings) -> nn.Sequential:
    """Weights from an address or a path, kept under their hash, so that a file is brought once."""
    kept = cells.path_of("fetched", entry.sha256, ".safetensors")
    with bar(title=name, unit="B") as progress:
        fetch(entry.address, kept, sha256=entry.sha256, timeout_s=download.timeout_s, attempts=download.attempts,
              progress=lambda done, total: (setattr(progress, "total", total), progress.update(done - progress.n)))  # fmt: skip
    weights = networks.with_unit_names(files.read_tensors(kept))
    network = networks.build(entry.architecture, entry.classes, entry.mean, entry.std)
    try:
        networks.load(network, {"normalise.mean": network.normalise.mean, "normalise.std": network.normalise.std} | weights)
    except RunError as error:
        raise RunError(
            f"{params.MODEL_CATALOG}: {name}: {entry.address} is no {entry.architecture} with {entry.classes} classes: {error}"
        ) from None
    return network.eval()


def trained(name: str, entry: Trained, settings: SourceSettings, journal: Journal) -> nn.Sequential:
    """Train, or take up the finished or half-finished work of an earlier run with the same settings, data and code."""
    data = card_of(settings.dataset)
    torch.manual_seed(entry.seed)
    network = networks.build(entry.architecture, data.classes, data.mean, data.std)
    key = files.digest_of({
        "code": code.digest("stages.lib.training", "stages.lib.attacks", "stages.lib.networks"), "torch": torch.__version__,
        "data": data.splits["train"].sha256, "settings": settings.model_dump(), "entry": entry.model_dump(),
    })  # fmt: skip
    if (found := cells.load("source", key, say)) is None:
        history = train(name, network, entry, settings, cells.path_of("source", key, ".checkpoint"), journal)
        cells.save("source", key, {"history": history}, network.state_dict())
        cells.path_of("source", key, ".checkpoint").unlink(missing_ok=True)
    else:
        say(f"source@{name}: trained before with the same settings, data and code ({len(found['history'])} epochs)")
        networks.load(network, cells.tensors("source", key))
    return network.eval()


def train(name: str, network: nn.Sequential, entry: Trained, settings: SourceSettings, checkpoint: Path, journal: Journal) -> list[dict]:
    """Train with a checkpoint after each epoch; returns loss and accuracy of every epoch."""
    network.to(training.best_device())
    x, y = (torch.from_numpy(array) for array in load_copy(settings.dataset))
    state = files.read_checkpoint(checkpoint, say)
    history = state["history"] if state else []
    if state:
        say(f"source@{name}: goes on after epoch {state['epoch']}")
    with bar(title=f"source@{name}", total=settings.epochs, unit="epoch") as progress:
        progress.update(len(history))

        def after_epoch(done: training.Epoch, state: dict) -> None:
            values = {"loss": done.loss, "train_accuracy": done.train_accuracy}
            history.append(values)
            files.write_checkpoint(checkpoint, state | {"history": history})
            journal.metrics(values, done.number)
            progress.set_postfix_str(f"loss {done.loss:.3f}, accuracy {done.train_accuracy:.1f} %", refresh=False)
            progress.update()

        try:
            training.train(
                network, x, y, epochs=settings.epochs, batch_size=settings.batch_size, lr=settings.lr, momentum=settings.momentum,
                weight_decay=settings.weight_decay, warmup=settings.schedule.warmup, seed=entry.seed,
                perturb_at=adversary(entry, settings), start_from=state, after_epoch=after_epoch,
            )  # fmt: skip
        except FloatingPointError as error:
            raise RunError(f"{params.PARAMS}: source.lr: {name}: {error}") from None
    network.cpu()
    return history


def load_copy(dataset: str) -> tuple:
    """Training images and labels in memory: a batch in random order from a memory map would read a page an image."""
    x, y = load(dataset, "train")
    return x.copy(), y


def adversary(entry: Trained, settings: SourceSettings) -> training.PerturbAt | None:
    """PGD(k) whose eps is 0 at first and then rises to its radius; None for natural training."""
    if entry.threat is None:
        return None
    attack, threat = settings.attack, entry.threat

    def perturb_at(progress: float) -> attacks.Perturb:
        risen = min(1.0, max(0.0, progress - attack.eps_hold) / attack.eps_ramp) if attack.eps_ramp else float(progress >= attack.eps_hold)
        return attacks.pgd(norm=threat.norm, eps=threat.eps * risen, steps=attack.steps, step_ratio=attack.step_ratio)

    return perturb_at


if __name__ == "__main__":
    command.run(main, __doc__, "source")
