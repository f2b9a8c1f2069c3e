"""Training a source as models/catalog.yaml and params.yaml say, whose results and checkpoints are kept in the cell store."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from stages.lib.datasets.sets import card_of
from stages.lib.errors import RunError
from stages.lib.networks import devices, units
from stages.lib.progress import bar, log
from stages.lib.runs import deciding, missing
from stages.lib.runs.work import train_source
from stages.lib.settings.attacks import AnyPerturbation, TrainingPgd
from stages.lib.settings.catalog import Trained
from stages.lib.settings.params import PARAMS, section
from stages.lib.settings.sections import SourceSettings
from stages.lib.store import cells, files
from stages.lib.store.journal import Journal
from stages.lib.training import loop, parallel


@dataclass(frozen=True)
class Training:
    """The training of one model of a source, as it is sent to a worker."""

    name: str
    number: int  # of the model, counted from 0
    entry: Trained
    settings: SourceSettings

    def __str__(self) -> str:
        return f"model {self.number}"


def train_side_by_side(name: str, entry: Trained, settings: SourceSettings) -> None:
    """Train the models of a source that the store lacks, one on each core or GPU; nothing is done here where one model alone is lacking."""
    seeds = entry.seeds[: settings.n_models]
    trainings = {key_of(entry, seed, settings): Training(name, number, entry, settings) for number, seed in enumerate(seeds)}
    lacking = sum(cells.load("source", key, log) is None for key in trainings)
    if lacking > 1 and processes(settings) == 1:
        missing.compute(f"source@{name}", "source", trainings, _train, settings=section("grid"), preload=[__name__], unit="model")


def _train(training: Training) -> None:
    """In a worker: train a model, and keep it in the store."""
    trained(**vars(training), hidden=True)


def trained(
    name: str, number: int, entry: Trained, settings: SourceSettings, journal: Journal | None = None, hidden: bool = False
) -> nn.Sequential:
    """Train a model of a source, or take up the finished or half-finished work of an earlier run with the same settings, data and code.

    The number of processes decides nothing but rounding, so that weights trained on a cluster are taken up here.

    Args:
        number: of the model, counted from 0.
        hidden: whether no progress is shown.
    """
    seed, title = entry.seeds[number], name_of(name, number)
    network = train_source.start(entry, settings.dataset, seed)
    key = key_of(entry, seed, settings)
    finished = cells.load("source", key, log)
    if finished is None and (count := processes(settings)) > 1 and not devices.launched():
        parallel.launch(count, "stages.source", name, str(number))
        finished = cells.load("source", key, log)
        for i, values in enumerate(finished["history"], start=1):
            journal.metrics(values, i)
    elif finished is None:
        history = train(title, network, entry, seed, settings, cells.path_of("source", key, ".checkpoint"), journal, hidden)
        if parallel.is_first():
            cells.save("source", key, {"history": history}, network.state_dict())
            cells.path_of("source", key, ".checkpoint").unlink(missing_ok=True)
        return network.eval()
    else:
        log(f"source@{title}: trained before with the same settings, data and code ({len(finished['history'])} epochs)")
    units.load(network, cells.tensors("source", key))
    return network.eval()


def name_of(name: str, number: int) -> str:
    """What a model is called while it is trained."""
    return f"{name}, model {number}" if number else name


def key_of(entry: Trained, seed: int, settings: SourceSettings) -> str:
    """The hash of all that decides the weights of a model.

    Raises:
        RunError: when there are no images to train on.
    """
    if "train" not in card_of(settings.dataset).splits:
        raise RunError(f"{PARAMS}: source.dataset: {settings.dataset} has no images here, and sources are to be trained on them")
    data, perturbation = card_of(settings.dataset), perturbation_of(entry, settings)
    made_by = deciding.code_of(
        "stages.lib.runs.work.train_source", deciding.modules_of_architecture(entry.architecture),
        deciding.modules_of_norm(entry.threat.norm) if perturbation else (),
        deciding.modules_of_attack(perturbation.model_dump()) if perturbation else (),
    )  # fmt: skip
    return files.digest_of(made_by | {
        "data": data.model_dump(exclude={"name", "splits", "label_is_texture"}), "images": data.splits["train"].sha256,
        "settings": settings.model_dump(exclude={"processes", "n_models"}), "entry": entry.model_dump(exclude={"seeds"}),
        "seed": seed,
    })  # fmt: skip


def processes(settings: SourceSettings) -> int:
    """How many processes train together.

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
    name: str, network: nn.Sequential, entry: Trained, seed: int, settings: SourceSettings, checkpoint: Path, journal: Journal | None,
    hidden: bool,
) -> list[dict]:  # fmt: skip
    """Train with a checkpoint after each epoch; returns loss and accuracy of every epoch."""
    state = files.read_checkpoint(checkpoint, log)
    history: list[dict[str, float]] = state["history"] if state else []
    if state:
        log(f"source@{name}: goes on after epoch {state['epoch']}")
    perturbation, plain = perturbation_of(entry, settings), settings.model_dump()
    perturbation = perturbation and perturbation.model_dump()
    with bar(title=f"source@{name}", total=train_source.n_epochs(plain, perturbation), unit="epoch", hidden=hidden) as progress:
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
            train_source.train(network, entry, seed, plain, perturbation, start_from=state, after_epoch=after_epoch)
        except FloatingPointError as error:
            raise RunError(f"{PARAMS}: source.lr: {name}: {error}") from None
    return history


def perturbation_of(entry: Trained, settings: SourceSettings) -> AnyPerturbation | None:
    """The perturbation of the entry's images: its own or, where it has none, that of params.yaml; None for natural training."""
    if entry.threat is None or entry.threat.eps == 0:
        return None
    return entry.threat.perturbation or TrainingPgd(kind="pgd", steps=settings.attack.steps, step_ratio=settings.attack.step_ratio)
