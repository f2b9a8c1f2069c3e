"""Source models on disk: `models/sources/<source>/0.safetensors`, and beside it a card that says what the weights are.

A source is one model, or several that were trained from different seeds: they are counted from 0.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from stages.lib.errors import RunError
from stages.lib.networks.names import known
from stages.lib.networks.pretrained import Pretrained
from stages.lib.settings.catalog import Part
from stages.lib.store import files

if TYPE_CHECKING:
    from torch import Tensor, nn

FOLDER = Path("models/sources")


class ThreatCard(BaseModel):
    """The ball within which the source was trained on perturbed images; eps in pixel units of [0, 1] images."""

    norm: str
    eps: float
    perturbation: str | None = None  # "PGD(3)", "Gaussian"; None where it is not known


class SourceCard(BaseModel):
    """What is known of a source. Its robust accuracy is no part of it: `evaluate_robustness` measures that."""

    model_config = ConfigDict(extra="forbid")

    name: str
    number: int = 0  # of the model, of those of its source
    seed: int | None = None  # that it was trained from
    kind: Literal["trained", "fetched", "random"]
    architecture: Annotated[str, AfterValidator(known)]
    classes: int | None
    dataset: str | None  # on which it was trained
    part: Part | None = None  # of the dataset's classes
    threat: ThreatCard | None
    origin: str
    sha256: str  # of the weights
    file_sha256: str | None = None  # of the published file that held them
    mean: list[float]  # of each channel; the first unit normalises with mean and std
    std: list[float]
    accuracy: dict[str, float]  # percent on each test split of the source data, where it is at hand
    n_test: dict[str, int] = Field(default_factory=dict)  # images behind each accuracy
    commonest: dict[str, float] = Field(default_factory=dict)  # percent of these that are of one class: what one answer to all is worth
    published_accuracy: float | None = None  # percent on its test split, as its authors say
    licence: str | None = None  # of the published weights, where it is known
    threat_model: str | None = None  # of the published weights, in the words of whoever lists them


def folder_of(name: str) -> Path:
    """The folder of all models of a source."""
    return FOLDER / name


def paths(name: str, number: int = 0) -> tuple[Path, Path]:
    """Paths of the weights and of the card of a model."""
    return folder_of(name) / f"{number}.safetensors", folder_of(name) / f"{number}.json"


def save(card: SourceCard, weights: "dict[str, Tensor]") -> None:
    """Write weights and card; the card's sha256 is set here."""
    weights_path, card_path = paths(card.name, card.number)
    files.write_tensors(weights_path, weights)
    files.write_json(card_path, card.model_copy(update={"sha256": files.sha256_of(weights_path)}).model_dump())


def count(name: str) -> int:
    """How many models of a source there are; 1 where its files are missing, which reading the first one says."""
    return max(1, len(list(folder_of(name).glob("[0-9]*.json"))))


def cards_of(name: str) -> list[SourceCard]:
    """The cards of all models of a source, as `card_of` reads them."""
    return [card_of(name, number) for number in range(count(name))]


def card_of(name: str, number: int = 0) -> SourceCard:
    """The card of a model; raises RunError when the file is missing or holds something else."""
    path = paths(name, number)[1]
    try:
        return SourceCard(**files.read_json(path))
    except (ValidationError, TypeError) as error:
        raise RunError(f"{path}: no card of a source ({' '.join(str(error).split())[:200]}); run `dvc repro` to make it again") from None


def pretrained_of(card: SourceCard) -> Pretrained:
    """The source as a worker is told of it."""
    weights = str(paths(card.name, card.number)[0])
    return Pretrained(card.name, card.architecture, card.classes, tuple(card.mean), tuple(card.std), weights, card.sha256)


def load(name: str, number: int = 0) -> "nn.Sequential":
    """A model of a source as a network in eval mode.

    Raises:
        RunError: when the weights are not those of the card.
    """
    return pretrained_of(card_of(name, number)).network()
