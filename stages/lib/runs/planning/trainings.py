"""How long the trainings of sources take: steps of each kind of training are measured, on random images and with the loop that trains."""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from stages.lib import machine
from stages.lib.datasets import sets
from stages.lib.runs import attacked, pretraining, transfers
from stages.lib.runs.planning import measuring
from stages.lib.runs.pretraining import Training
from stages.lib.workers.executors import Workers

CLASSES = 10  # of the images; how many there are hardly costs anything


@dataclass(frozen=True)
class Kind:
    """What decides the cost of a step."""

    training: Training
    image_size: int
    threads: int  # of the process that trains, or of those that train together

    @property
    def what(self) -> str:
        """The same for two kinds that cost the same: neither seeds nor radii decide that."""
        entry, settings = self.training.entry, self.training.settings.model_dump(exclude={"n_models", "epochs", "lr"})
        perturbation = self.perturbation | {"norm": entry.threat.norm} if self.perturbation else None
        return json.dumps([entry.architecture, settings, perturbation, self.image_size, self.threads])

    @property
    def perturbation(self) -> dict[str, Any] | None:
        made = pretraining.perturbation_of(self.training.entry, self.training.settings)
        return made and made.model_dump()


def seconds(trainings: Iterable[Training], image_size: int, workers: Workers) -> float:
    """Seconds that the trainings take: as many at once as fit, and none waits for the last of its source; or each by several processes.

    Raises:
        RunError: names the entry of source data that does not say how many images it has.
    """
    asked, rates = list(trainings), {}
    if not asked:
        return 0.0
    settings = asked[0].settings
    together = pretraining.processes(settings)  # each with its part of every batch: faster where each has a GPU
    threads = settings.threads if together == 1 else workers.processes
    at_once = pretraining.side_by_side(workers.processes, threads) if together == 1 else 1
    took = []
    for kind in (Kind(model, image_size, threads) for model in asked):
        if kind.what not in rates:
            rates[kind.what] = measuring.means(workers, rates_of, kind, min(at_once, len(asked)))
        took.append(_seconds_of(kind, *rates[kind.what]))
    if together > 1:
        return sum(took) / max(1, min(together, machine.gpus()))
    return max(sum(took) / at_once, *took)


def n_images(training: Training) -> int:
    """Training images of a source."""
    name, split = training.settings.dataset, training.entry.split
    n = sets.card_of(name).splits[split].n if attacked.at_hand(name, split) else transfers.counted_entry(name).train
    return n if training.entry.part is None else -(-n // training.entry.part.of)


def _seconds_of(kind: Kind, clean: float, perturbed: float) -> float:
    """Seconds of a training; while eps is 0, images are not perturbed."""
    settings = kind.training.settings
    hold = settings.attack.eps_hold if kind.perturbation else 1.0
    steps = settings.epochs * -(-n_images(kind.training) // settings.batch_size)
    return steps * (hold * clean + (1 - hold) * perturbed)


def rates_of(kind: Kind) -> tuple[float, float]:
    """In a worker: seconds of a step on clean images, and of a step on perturbed ones."""
    from stages.lib.networks import devices  # here, as torch takes seconds to import

    with devices.threads(devices.best_device(), kind.threads):
        clean = _step(kind, None)
        return clean, _step(kind, kind.perturbation) if kind.perturbation else clean


def _step(kind: Kind, perturbation: dict[str, Any] | None) -> float:
    whole, replay = kind.training.settings.batch_size, (perturbation or {}).get("replay", 1)
    return measuring.step(lambda more, n: _train(kind, perturbation, n, replay * (1 + more)), whole, min(measuring.FEW, whole)) / replay


def _train(kind: Kind, perturbation: dict[str, Any] | None, n: int, steps: int) -> None:
    """Take so many steps, each on the same n random images; of free training they are a multiple of its replays."""
    import torch  # here, as it takes seconds to import

    from stages.lib.networks import devices, units
    from stages.lib.runs.work import train_source
    from stages.lib.training import loop

    entry, settings = kind.training.entry, kind.training.settings
    device = devices.best_device(settings.mixed_precision)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = units.build(entry.architecture, CLASSES, [0.5] * 3, [0.25] * 3).to(device)
        x = torch.randint(0, 256, (n, kind.image_size, kind.image_size, 3), dtype=torch.uint8).numpy()
        grown = {"eps_hold": 0.0, "eps_ramp": 0.0}
        loop.train(
            network, x, torch.arange(n) % CLASSES, epochs=steps, batch_size=n, lr=0.0,
            momentum=settings.momentum, nesterov=settings.nesterov, weight_decay=settings.weight_decay, schedule=lambda progress: 1.0,
            seed=0, image_size=kind.image_size, augmentation=settings.augmentation,
            lower_precision=devices.lower_precision(device, settings.mixed_precision),
            perturb_at=train_source.adversary(entry, grown, perturbation), free=train_source.free(entry, grown, perturbation),
        )  # fmt: skip
        if torch.cuda.is_available():
            torch.cuda.synchronize()
