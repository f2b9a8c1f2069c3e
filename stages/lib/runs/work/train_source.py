"""Training a source, from images and settings to weights. All of it is in the key.

Settings come as plain values: `entry` is that of models/catalog.yaml (`settings.catalog.Trained`), `settings` the section `source` of
params.yaml (`settings.sections.SourceSettings`).
"""

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import psutil
import torch
from torch import nn

from stages.lib.attacks import table
from stages.lib.attacks.attack import Perturb, ramped
from stages.lib.datasets.sets import card_of, load_part, n_classes
from stages.lib.networks import devices, units
from stages.lib.norms.table import norm_of
from stages.lib.training import loop, schedules
from stages.lib.training.free import Free, passes

if TYPE_CHECKING:
    from stages.lib.settings.catalog import Part, Trained


def start(entry: "Trained", dataset: str, seed: int) -> nn.Sequential:
    """The network before its first step, drawn from a seed."""
    data = card_of(dataset)
    torch.manual_seed(seed)
    return units.build(entry.architecture, n_classes(entry.part, data.classes), data.mean, data.std)


def train(
    network: nn.Sequential, entry: "Trained", seed: int, settings: dict[str, Any], perturbation: dict[str, Any] | None, *,
    start_from: dict[str, Any] | None, after_epoch: Callable[[loop.Epoch, dict[str, Any]], None],
) -> None:  # fmt: skip
    """Train in place, on the best device; the network ends on the CPU.

    Args:
        perturbation: settings of what images are perturbed by, with its `kind`; None for natural training.
        start_from, after_epoch: as `loop.train` takes them.

    Raises:
        FloatingPointError: when the loss is no longer finite.
    """
    device = devices.best_device(settings["mixed_precision"])
    network.to(device)
    x, y = images_of(settings["dataset"], entry.split, entry.part)
    with devices.threads(device, settings["threads"]):
        loop.train(
            network, x, torch.from_numpy(y), epochs=settings["epochs"], batch_size=settings["batch_size"], lr=settings["lr"],
            momentum=settings["momentum"], nesterov=settings["nesterov"], weight_decay=settings["weight_decay"],
            schedule=schedule_of(settings["schedule"]), seed=seed,
            image_size=card_of(settings["dataset"]).image_size, augmentation=settings["augmentation"],
            lower_precision=devices.lower_precision(device, settings["mixed_precision"]),
            perturb_at=adversary(entry, settings["attack"], perturbation), free=free(entry, settings["attack"], perturbation),
            start_from=start_from, after_epoch=after_epoch,
        )  # fmt: skip
    network.cpu()


def n_epochs(settings: dict[str, Any], perturbation: dict[str, Any] | None) -> int:
    """The number of epochs; free training has as many times fewer as it replays each batch."""
    is_free = perturbation is not None and perturbation["kind"] == "free"
    return passes(settings["epochs"], perturbation["replay"] if is_free else 1)


def images_of(dataset: str, split: str, part: "Part | None") -> tuple[np.ndarray, np.ndarray]:
    """Training images in memory, as a batch in random order reads a page an image from a map; a set that is large stays a map."""
    x, y = load_part(dataset, split, part)
    return (x.copy() if x.nbytes < psutil.virtual_memory().available // 4 else x), y


def schedule_of(schedule: dict[str, Any]) -> Callable[[float], float]:
    """The factor of the learning rate at a fraction of the training."""
    if schedule["kind"] == "one_cycle":
        return partial(schedules.one_cycle, warmup=schedule["warmup"])
    if schedule["kind"] == "piecewise":
        return partial(schedules.at_drops, drops=schedule["drops"])
    return partial(schedules.stepwise, decays=schedule["decays"])


def adversary(entry: "Trained", growth: dict[str, Any], perturbation: dict[str, Any] | None) -> loop.PerturbAt | None:
    """The perturbation, whose eps is 0 at first and then rises to its radius; None for natural and for free training.

    Args:
        growth: the section `source.attack`, which says how the ball grows.
    """
    if perturbation is None or perturbation["kind"] == "free":
        return None

    def make(eps: float) -> Perturb:
        return table.make(**perturbation, norm=entry.threat.norm, eps=eps)

    return ramped(make, eps=entry.threat.eps, hold=growth["eps_hold"], ramp=growth["eps_ramp"])


def free(entry: "Trained", growth: dict[str, Any], perturbation: dict[str, Any] | None) -> Free | None:
    """The settings of free training where the entry uses it, else None; its ball grows like that of other attacks."""
    if perturbation is None or perturbation["kind"] != "free":
        return None
    grown = ramped(lambda eps: eps, eps=entry.threat.eps, hold=growth["eps_hold"], ramp=growth["eps_ramp"])
    return Free(perturbation["replay"], norm_of(entry.threat.norm), grown)
