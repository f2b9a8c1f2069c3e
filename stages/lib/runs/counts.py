"""What a configuration has to compute beside its fine-tuning runs, and how much of it the store holds."""

from collections.abc import Iterable

from stages.lib.errors import RunError
from stages.lib.networks import sources
from stages.lib.networks.sources import SourceCard
from stages.lib.runs import attacked, missing, pretraining, transfers
from stages.lib.runs.attacked import AttackedNetwork
from stages.lib.runs.grid import Cell
from stages.lib.runs.pretraining import Training
from stages.lib.settings.sections import Params
from stages.lib.store import cells


def trainings(settings: Params) -> list[Training]:
    """The trainings of all models of all sources that are trained here."""
    return pretraining.trainings_of_all(settings.models, settings.source)


def attacks(settings: Params, with_weights: Iterable[Cell]) -> tuple[int, int]:
    """How many attacks and checks of attacks there are, and how many of them are done.

    Args:
        with_weights: the runs whose weights are kept; those that `finetune.keep.blocks` names are attacked beside the sources.
    """
    cards = {name: _card_of(name) for name in settings.sources}
    networks = {
        name: [AttackedNetwork(sources.pretrained_of(card), card.dataset, part=card.part)] if card.dataset in settings.datasets else []
        for name, card in cards.items()
    }
    for cell in (cell for cell in with_weights if settings.finetune.keep.attacks(cell.blocks)):
        networks[cell.source].append(_finetuned(cards[cell.source], cell, settings.finetune.resolution))
    chosen = settings.evaluate_robustness
    asked = [len(chosen.attacks) * len(of) + bool(chosen.check_images) * len(attacked.first_seeds(of)) for of in networks.values()]
    return len(chosen.norms) * sum(asked), sum(_attacks_done(of, settings) for of in networks.values())


def _card_of(source: str) -> SourceCard:
    try:
        return sources.card_of(source)
    except RunError:  # it is not there yet
        return transfers.expected_card(source)


def _finetuned(card: SourceCard, cell: Cell, resolution: int | None) -> AttackedNetwork:
    weights = cells.path_of("finetune", cell.key, ".safetensors")
    pretrained = sources.pretrained_of(card)
    return AttackedNetwork(pretrained, cell.target, str(cell.blocks), cell.n_images, cell.seed, str(weights), resolution)


def _attacks_done(networks: list[AttackedNetwork], settings: Params) -> int:
    """Of one source."""
    chosen = settings.evaluate_robustness
    try:
        asked = attacked.evaluations_of(networks, chosen.norms, chosen, settings.sources)
    except (RunError, OSError, ValueError):  # sources or images are not there yet
        return 0
    return sum(missing.is_done("robustness", evaluation) for evaluation in asked)
