"""A training of a source that may be interrupted: a checkpoint after each epoch, and in the end the model in the cell store."""

from typing import Any

from stages.lib.errors import RunError
from stages.lib.information.weight_norm import NORM, weight_norm
from stages.lib.progress import bar, log
from stages.lib.runs import pretraining
from stages.lib.runs.pretraining import Training
from stages.lib.runs.work import train_source
from stages.lib.settings.params import PARAMS
from stages.lib.store import cells, files
from stages.lib.store.journal import Journal
from stages.lib.training import loop, parallel


class _StoppedError(Exception):
    """The training goes on elsewhere."""


def train_together(trainings: list[Training]) -> None:
    """In each of the processes that torchrun has started: train the models that the store lacks."""
    for training in trainings:
        if cells.load("source", training.key, log) is None and pretraining.processes(training.settings):
            train(training)


def train(training: Training, journal: Journal | None = None, hidden: bool = False) -> None:
    """Train a model, with a checkpoint after each epoch, and keep it in the store with loss and accuracy of every epoch.

    Where it stops early, as `Training.while_exists` asks for, the checkpoint is left to whoever goes on.

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
    perturbation = pretraining.perturbation_of(entry, training.settings)
    perturbation = perturbation and perturbation.model_dump()
    network = train_source.start(entry, training.settings.dataset, training.seed)
    with bar(title=f"source@{training}", total=train_source.n_epochs(settings, perturbation), unit="epoch", hidden=hidden) as progress:
        progress.update(len(history))

        def after_epoch(done: loop.Epoch, state: dict[str, Any]) -> None:
            values = {"loss": done.loss, "train_accuracy": done.train_accuracy, NORM: weight_norm(state["network"])}
            history.append(values)
            files.write_checkpoint(checkpoint, state | {"history": history})
            if journal is not None:
                pretraining.note_epoch(journal, training, done.number, values)
            progress.set_postfix_str(f"loss {done.loss:.3f}, accuracy {done.train_accuracy:.1f} %", refresh=False)
            progress.update()
            if not training.goes_on:
                raise _StoppedError

        try:
            train_source.train(network, entry, training.seed, settings, perturbation, start_from=state, after_epoch=after_epoch)
        except FloatingPointError as error:
            raise RunError(f"{PARAMS}: source.lr: {training}: {error}") from None
        except _StoppedError:
            return
    if parallel.is_first():
        cells.save("source", training.key, {"history": history}, network.state_dict())
        checkpoint.unlink(missing_ok=True)
