"""Training a source as models/catalog.yaml and params.yaml say, with what is finished or half-finished kept in the cell store."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import torch
from torch import nn

from stages.lib.attacks import table
from stages.lib.attacks.attack import Perturb, ramped
from stages.lib.datasets.sets import card_of, load_part, n_classes
from stages.lib.errors import RunError
from stages.lib.networks import devices, units
from stages.lib.norms.table import norm_of
from stages.lib.progress import bar, log
from stages.lib.settings.attacks import AnyPerturbation, TrainingPgd
from stages.lib.settings.catalog import Part, Trained
from stages.lib.settings.params import PARAMS
from stages.lib.settings.sections import SourceSettings
from stages.lib.store import cells, code, files
from stages.lib.store.journal import Journal
from stages.lib.training import loop, parallel

MODULES = ("stages.lib.training.loop", "stages.lib.attacks.table", "stages.lib.networks.units")


def trained(name: str, entry: Trained, settings: SourceSettings, journal: Journal | None = None) -> nn.Sequential:
    """Train, or take up the finished or half-finished work of an earlier run with the same settings, data and code.

    The number of processes decides nothing but rounding, so that weights trained on a cluster are taken up here.
    """
    data = card_of(settings.dataset)
    if "train" not in data.splits:
        raise RunError(f"{PARAMS}: source.dataset: {settings.dataset} has no images here, and {name} is to be trained on them")
    torch.manual_seed(entry.seed)
    network = units.build(entry.architecture, n_classes(entry.part, data.classes), data.mean, data.std)
    key = files.digest_of({
        "code": code.digest(*MODULES), "torch": torch.__version__, "data": data.splits["train"].sha256, "image_size": data.image_size,
        "settings": settings.model_dump(exclude={"processes"}), "entry": entry.model_dump(),
    })  # fmt: skip
    found = cells.load("source", key, log)
    if found is None and (count := processes(settings)) > 1 and not devices.launched():
        parallel.launch(count, "stages.source", name)
        found = cells.load("source", key, log)
        for i, values in enumerate(found["history"], start=1):
            journal.metrics(values, i)
    elif found is None:
        history = train(name, network, entry, settings, cells.path_of("source", key, ".checkpoint"), journal)
        if parallel.is_first():
            cells.save("source", key, {"history": history}, network.state_dict())
            cells.path_of("source", key, ".checkpoint").unlink(missing_ok=True)
        return network.eval()
    else:
        log(f"source@{name}: trained before with the same settings, data and code ({len(found['history'])} epochs)")
    units.load(network, cells.tensors("source", key))
    return network.eval()


def processes(settings: SourceSettings) -> int:
    """How many train together.

    Raises:
        RunError: when there are not as many GPUs, or not as many images in a batch.
    """
    gpus = torch.cuda.device_count()
    asked = max(1, gpus) if settings.processes == "gpus" else settings.processes
    count = parallel.processes() if devices.launched() else asked
    if 0 < gpus < count and not devices.launched():
        raise RunError(f"{PARAMS}: source.processes is {count}; allowed: 1 to {gpus} (the GPUs that this machine has), or gpus")
    if count > settings.batch_size:
        raise RunError(f"{PARAMS}: source.batch_size is {settings.batch_size}; allowed: an integer from {count}, the number of processes")
    return count


def train(
    name: str, network: nn.Sequential, entry: Trained, settings: SourceSettings, checkpoint: Path, journal: Journal | None
) -> list[dict]:
    """Train with a checkpoint after each epoch; returns loss and accuracy of every epoch."""
    device = devices.best_device()
    network.to(device)
    x, y = images_of(settings.dataset, entry.part)
    state = files.read_checkpoint(checkpoint, log)
    history: list[dict[str, float]] = state["history"] if state else []
    if state:
        log(f"source@{name}: goes on after epoch {state['epoch']}")
    replayed = free(entry, settings)
    with bar(title=f"source@{name}", total=loop.passes(settings.epochs, replayed), unit="epoch") as progress:
        progress.update(len(history))

        def after_epoch(done: loop.Epoch, state: dict[str, Any]) -> None:
            values = {"loss": done.loss, "train_accuracy": done.train_accuracy}
            history.append(values)
            files.write_checkpoint(checkpoint, state | {"history": history})
            if journal is not None:
                journal.metrics(values, done.number)
            progress.set_postfix_str(f"loss {done.loss:.3f}, accuracy {done.train_accuracy:.1f} %", refresh=False)
            progress.update()

        try:
            loop.train(
                network, x, torch.from_numpy(y), epochs=settings.epochs, batch_size=settings.batch_size, lr=settings.lr,
                momentum=settings.momentum, weight_decay=settings.weight_decay, schedule=schedule_of(settings), seed=entry.seed,
                image_size=card_of(settings.dataset).image_size, augmentation=settings.augmentation,
                lower_precision=loop.precision(device, settings.mixed_precision),
                perturb_at=adversary(entry, settings), free=replayed, start_from=state, after_epoch=after_epoch,
            )  # fmt: skip
        except FloatingPointError as error:
            raise RunError(f"{PARAMS}: source.lr: {name}: {error}") from None
    network.cpu()
    return history


def images_of(dataset: str, part: Part | None) -> tuple[np.ndarray, np.ndarray]:
    """Training images in memory, as a batch in random order reads a page an image from a map; a set that is large stays a map."""
    x, y = load_part(dataset, "train", part)
    return (x.copy() if x.nbytes < psutil.virtual_memory().available // 4 else x), y


def schedule_of(settings: SourceSettings) -> Callable[[float], float]:
    """Factor of the learning rate at a fraction of the training."""
    if settings.schedule.kind == "one_cycle":
        return partial(loop.one_cycle, warmup=settings.schedule.warmup)
    if settings.schedule.kind == "piecewise":
        return partial(loop.at_drops, drops=settings.schedule.drops)
    return partial(loop.stepwise, decays=settings.schedule.decays)


def perturbation_of(entry: Trained, settings: SourceSettings) -> AnyPerturbation | None:
    """How the entry's images are perturbed: as it says, or as params.yaml says for all."""
    if entry.threat is None or entry.threat.eps == 0:
        return None
    return entry.threat.perturbation or TrainingPgd(kind="pgd", steps=settings.attack.steps, step_ratio=settings.attack.step_ratio)


def adversary(entry: Trained, settings: SourceSettings) -> loop.PerturbAt | None:
    """The perturbation, whose eps is 0 at first and then rises to its radius; None for natural training."""
    perturbation, attack = perturbation_of(entry, settings), settings.attack
    if perturbation is None or perturbation.kind == "free":
        return None

    def make(eps: float) -> Perturb:
        return table.make(**perturbation.model_dump(), norm=entry.threat.norm, eps=eps)

    return ramped(make, eps=entry.threat.eps, hold=attack.eps_hold, ramp=attack.eps_ramp)


def free(entry: Trained, settings: SourceSettings) -> loop.Free | None:
    """What replays each batch, where the entry is trained so; the ball grows as that of other attacks."""
    perturbation, attack = perturbation_of(entry, settings), settings.attack
    if perturbation is None or perturbation.kind != "free":
        return None
    grown = ramped(lambda eps: eps, eps=entry.threat.eps, hold=attack.eps_hold, ramp=attack.eps_ramp)
    return loop.Free(perturbation.replay, norm_of(entry.threat.norm), grown)
