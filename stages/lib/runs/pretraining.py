"""Training a source as models/catalog.yaml and params.yaml say, whose results and checkpoints are kept in the cell store."""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from typing import Any

import torch
from torch import nn

from stages.lib.datasets.sets import card_of, load
from stages.lib.errors import RunError
from stages.lib.information.weight_norm import NORM, weight_norm
from stages.lib.networks import devices, units
from stages.lib.progress import bar, log
from stages.lib.runs import deciding, missing
from stages.lib.runs.work import train_source
from stages.lib.settings.attacks import AnyPerturbation, TrainingPgd
from stages.lib.settings.catalog import Trained
from stages.lib.settings.params import MODEL_CATALOG, PARAMS, section, source_entry
from stages.lib.settings.sections import SourceSettings
from stages.lib.store import cells, files
from stages.lib.store.journal import Journal
from stages.lib.training import loop, parallel
from stages.lib.workers import executors


@dataclass(frozen=True)
class Training:
    """The training of one model of a source, as it is sent to a worker."""

    source: str
    number: int  # of the model, counted from 0
    seed: int
    entry: Trained
    settings: SourceSettings

    def __str__(self) -> str:
        return f"{self.source}, model {self.number}" if self.number else self.source

    @cached_property
    def key(self) -> str:
        """The hash of all that decides the weights."""
        return key_of(self.entry, self.seed, self.settings)

    def network(self) -> nn.Sequential:
        """The model that the store holds, in eval mode."""
        network = train_source.start(self.entry, self.settings.dataset, self.seed)
        units.load(network, cells.tensors("source", self.key))
        return network.eval()


def trainings_of(source: str, entry: Trained, settings: SourceSettings) -> list[Training]:
    """The trainings of all models of a source."""
    seeds = entry.model_seeds(settings.n_models)
    return [Training(source, number, seed, entry, settings) for number, seed in enumerate(seeds)]


def trainings_of_all(sources: Iterable[str], settings: SourceSettings) -> list[Training]:
    """The trainings of all models of those of the sources that are trained here."""
    entries = {name: source_entry(name) for name in sources}
    return [training for name, entry in entries.items() if isinstance(entry, Trained) for training in trainings_of(name, entry, settings)]


def train_lacking(trainings: list[Training], journal: Journal, others: Iterable[Training] = ()) -> None:
    """Train the models of a source that the store lacks: by as many processes as the settings say, or each on cores or a GPU of its own.

    Cores or GPUs that the last of them leave idle train models of other sources, which their own stages then find in the store.

    Half-finished work of an earlier run with the same settings, data and code is taken up. The number of processes is in no key, though
    rounding follows from it, as it does from the device: so weights that were trained on a cluster are taken up, too.

    Args:
        others: trainings of other sources, those that are needed next first.
    """
    lacking = []
    for training in trainings:
        if finished := cells.load("source", training.key, log):
            log(f"source@{training}: trained before with the same settings, data and code ({len(finished['history'])} epochs)")
        else:
            lacking.append(training)
    if not lacking:
        return
    missing.can_keep("source")
    source, settings = lacking[0].source, lacking[0].settings
    load(settings.dataset, lacking[0].entry.split)  # compared with its hash once, before workers read it

    def ended(training: Training) -> None:
        for epoch, values in enumerate(cells.load("source", training.key)["history"], start=1):
            note_epoch(journal, training, epoch, values)

    if (count := processes(settings)) > 1:
        for training in lacking:
            parallel.launch(count, "stages.source", source, str(training.number))
            ended(training)
        return
    grid = section("grid")
    at_once = side_by_side(executors.local(grid), settings.threads)
    idle = -len(lacking) % at_once  # in the last of the rounds
    beside = list(islice((other for other in others if cells.load("source", other.key) is None), idle))
    if len(lacking) + len(beside) == 1:
        train(lacking[0], journal)
        return
    if beside:
        log(f"source@{source}: what it leaves idle trains {', '.join(map(str, beside))}")
    tasks = {training.key: training for training in trainings}
    missing.compute(f"source@{source}", "source", tasks, _train_hidden, settings=grid.model_copy(update={"workers": at_once}),
                    preload=[__name__], unit="model", ended=ended, beside=beside)  # fmt: skip


def side_by_side(workers: int, threads: int) -> int:
    """How many trainings are done at once, of which each has a GPU, or cores for its threads."""
    return workers if torch.cuda.is_available() else max(1, workers // threads)


def train_together(trainings: list[Training]) -> None:
    """In each of the processes that torchrun has started: train the models that the store lacks."""
    for training in trainings:
        if cells.load("source", training.key, log) is None and processes(training.settings):
            train(training)


def _train_hidden(training: Training) -> None:
    """In a worker: train a model without a bar of its own."""
    train(training, hidden=True)


def note_epoch(journal: Journal, training: Training, epoch: int, values: dict[str, float]) -> None:
    """Write loss and accuracy of an epoch down, of each model under names of its own."""
    of_model = f"model{training.number}/" if training.number else ""
    journal.metrics({f"{of_model}{name}": value for name, value in values.items()}, epoch)


def key_of(entry: Trained, seed: int, settings: SourceSettings) -> str:
    """The hash of all that decides the weights of a model.

    Raises:
        RunError: when there are no images to train on.
    """
    data, perturbation = card_of(settings.dataset), perturbation_of(entry, settings)
    if "train" not in data.splits:
        raise RunError(f"{PARAMS}: source.dataset: {settings.dataset} has no images here, and sources are to be trained on them")
    if entry.split not in data.splits:
        raise RunError(f"{MODEL_CATALOG}: split is {entry.split!r}; allowed: a split of {settings.dataset}: {', '.join(data.splits)}")
    made_by = deciding.code_of(
        "stages.lib.runs.work.train_source", deciding.modules_of_architecture(entry.architecture),
        deciding.modules_of_norm(entry.threat.norm) if perturbation else (),
        deciding.modules_of_attack(perturbation.model_dump()) if perturbation else (),
    )  # fmt: skip
    return files.digest_of(made_by | {
        "data": data.model_dump(exclude={"name", "splits", "label_is_texture", "class_names", "crop", "metric"}),
        "images": data.splits[entry.split].sha256,
        "settings": settings.model_dump(exclude={"processes", "n_models"}),
        "entry": entry.model_dump(exclude={"seeds", "published_accuracy", "split"}), "seed": seed,
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


def train(training: Training, journal: Journal | None = None, hidden: bool = False) -> None:
    """Train a model, with a checkpoint after each epoch, and keep it in the store with loss and accuracy of every epoch.

    Args:
        hidden: whether no progress is shown.

    Raises:
        RunError: names the learning rate, when the loss is no longer finite.
    """
    checkpoint = cells.path_of("source", training.key, ".checkpoint")
    state = files.read_checkpoint(checkpoint, log)
    history: list[dict[str, float]] = state["history"] if state else []
    if state:
        log(f"source@{training}: goes on after epoch {state['epoch']}")
    entry, settings = training.entry, training.settings.model_dump()
    perturbation = perturbation_of(entry, training.settings)
    perturbation = perturbation and perturbation.model_dump()
    network = train_source.start(entry, training.settings.dataset, training.seed)
    with bar(title=f"source@{training}", total=train_source.n_epochs(settings, perturbation), unit="epoch", hidden=hidden) as progress:
        progress.update(len(history))

        def after_epoch(done: loop.Epoch, state: dict[str, Any]) -> None:
            values = {"loss": done.loss, "train_accuracy": done.train_accuracy, NORM: weight_norm(state["network"])}
            history.append(values)
            files.write_checkpoint(checkpoint, state | {"history": history})
            if journal is not None:
                note_epoch(journal, training, done.number, values)
            progress.set_postfix_str(f"loss {done.loss:.3f}, accuracy {done.train_accuracy:.1f} %", refresh=False)
            progress.update()

        try:
            train_source.train(network, entry, training.seed, settings, perturbation, start_from=state, after_epoch=after_epoch)
        except FloatingPointError as error:
            raise RunError(f"{PARAMS}: source.lr: {training}: {error}") from None
    if parallel.is_first():
        cells.save("source", training.key, {"history": history}, network.state_dict())
        checkpoint.unlink(missing_ok=True)


def perturbation_of(entry: Trained, settings: SourceSettings) -> AnyPerturbation | None:
    """The perturbation of the entry's images: its own or, where it has none, that of params.yaml; None for natural training."""
    if entry.threat is None or entry.threat.eps == 0:
        return None
    return entry.threat.perturbation or TrainingPgd(kind="pgd", steps=settings.attack.steps, step_ratio=settings.attack.step_ratio)
