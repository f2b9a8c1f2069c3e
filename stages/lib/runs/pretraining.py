"""Training a source as models/catalog.yaml and params.yaml say, whose results and checkpoints are kept in the cell store."""

import os
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from stages.lib import machine
from stages.lib.datasets.sets import card_of, load
from stages.lib.errors import RunError
from stages.lib.progress import log
from stages.lib.runs import deciding, missing
from stages.lib.settings.attacks import AnyPerturbation, TrainingPgd
from stages.lib.settings.catalog import Trained
from stages.lib.settings.params import MODEL_CATALOG, PARAMS, section, source_entry
from stages.lib.settings.sections import SourceSettings
from stages.lib.store import cells, files
from stages.lib.store.journal import Journal
from stages.lib.workers import executors

if TYPE_CHECKING:
    from torch import nn

PRELOAD = "stages.lib.runs.work.resumable"


@dataclass(frozen=True)
class Training:
    """The training of one model of a source, as it is sent to a worker."""

    source: str
    number: int  # of the model, counted from 0
    seed: int
    entry: Trained
    settings: SourceSettings
    while_exists: Path | None = None  # a file, without which the training stops after its epoch, to be taken up by another stage

    def __str__(self) -> str:
        return f"{self.source}, model {self.number}" if self.number else self.source

    @cached_property
    def key(self) -> str:
        """The hash of all that decides the weights."""
        return key_of(self.entry, self.seed, self.settings)

    @property
    def goes_on(self) -> bool:
        """Whether anyone waits for it here."""
        return self.while_exists is None or self.while_exists.exists()

    def network(self) -> "nn.Sequential":
        """The model that the store holds, in eval mode."""
        from stages.lib.networks import units  # here, as torch takes seconds to import
        from stages.lib.runs.work import train_source

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


def train_lacking(
    trainings: list[Training], journal: Journal, done: Callable[[Training], None], others: Iterable[Training] = ()
) -> None:  # fmt: skip
    """Train the models of a source that the store lacks: by as many processes as the settings say, or each on cores or a GPU of its own.

    Cores or GPUs that they leave idle train models of other sources meanwhile, and leave what they do not finish to the stages of these.
    Half-finished work of an earlier run with the same settings, data and code is taken up. The number of processes is in no key, though
    rounding follows from it, as it does from the device: so weights that were trained on a cluster are taken up, too.

    Args:
        done: called with each training whose model the store holds, as soon as it does.
        others: trainings of other sources, those that are needed next first.
    """
    lacking = []
    for training in trainings:
        if finished := cells.load("source", training.key, log):
            log(f"source@{training}: trained before with the same settings, data and code ({len(finished['history'])} epochs)")
            done(training)
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
        done(training)

    if (count := processes(settings)) > 1:
        from stages.lib.training import parallel  # here, as torch takes seconds to import

        for training in lacking:
            parallel.launch(count, "stages.source", source, str(training.number))
            ended(training)
        return
    grid = section("grid")
    at_once = side_by_side(executors.local(grid), settings.threads)
    beside = [other for other in others if not missing.is_done("source", other)] if at_once > 1 else []
    if len(lacking) + len(beside) == 1:
        from stages.lib.runs.work import resumable  # here, as torch takes seconds to import

        resumable.train(lacking[0], journal)
        done(lacking[0])
        return
    threading.Thread(target=import_module, args=(PRELOAD,), daemon=True).start()  # for `done`, while the workers train
    flag = cells.path_of("source", lacking[0].key, f".{os.getpid()}.lacking")  # where machines of a cluster see it, too
    missing.compute(
        f"source@{source}", "source", {training.key: training for training in trainings}, _train_hidden,
        settings=grid.model_copy(update={"workers": at_once}), preload=[PRELOAD], unit="model", ended=ended,
        beside=[replace(other, while_exists=flag) for other in beside], meanwhile=_existing(flag),
    )  # fmt: skip


@contextmanager
def _existing(path: Path) -> Iterator[None]:
    """A file is there while the block runs."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    try:
        yield
    finally:
        path.unlink(missing_ok=True)


def side_by_side(workers: int, threads: int) -> int:
    """How many trainings are done at once, of which each has a GPU, or cores for its threads."""
    return workers if machine.gpus() else max(1, workers // threads)


def _train_hidden(training: Training) -> None:
    """In a worker: train a model without a bar of its own; nothing is begun for which no file exists any more."""
    from stages.lib.runs.work import resumable  # here, as torch takes seconds to import

    if training.goes_on:
        resumable.train(training, hidden=True)


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
    if machine.launched():
        from stages.lib.training import parallel  # here, as torch takes seconds to import

        gpus, count = 0, parallel.processes()
    else:
        gpus = machine.gpus()
        count = max(1, gpus) if settings.processes == "gpus" else settings.processes
    if 0 < gpus < count:
        raise RunError(f"{PARAMS}: source.processes is {count}; allowed: 1 to {gpus} (the GPUs that this machine has), or gpus")
    if count > settings.batch_size:
        raise RunError(f"{PARAMS}: source.batch_size is {settings.batch_size}; allowed: an integer from {count}, the number of processes")
    return count


def perturbation_of(entry: Trained, settings: SourceSettings) -> AnyPerturbation | None:
    """The perturbation of the entry's images: its own or, where it has none, that of params.yaml; None for natural training."""
    if entry.threat is None or entry.threat.eps == 0:
        return None
    return entry.threat.perturbation or TrainingPgd(kind="pgd", steps=settings.attack.steps, step_ratio=settings.attack.step_ratio)
