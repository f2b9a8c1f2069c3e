"""What is attacked: a source on its own data, and the fine-tuned models whose weights were kept."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from stages.lib.datasets import subsets
from stages.lib.datasets.sets import IMAGES, card_of
from stages.lib.networks import sources
from stages.lib.settings.catalog import Part
from stages.lib.store import files
from stages.lib.store.tables import kept_weights

if TYPE_CHECKING:  # torch takes seconds to import
    from torch import nn


@dataclass(frozen=True)
class Model:
    """A source (weights None), or a source with the trained part that a cell kept."""

    source: str
    dataset: str  # whose test images are attacked
    blocks: str = ""
    n_images: int = 0
    seed: int = 0
    weights: str | None = None
    resolution: int | None = None  # to which it was fine-tuned to see images reduced
    part: Part | None = None  # of the dataset's classes

    @property
    def kind(self) -> str:
        return "finetuned" if self.weights else "source"

    @property
    def columns(self) -> dict[str, str | int]:
        """What tables say of it."""
        return {"model": self.kind, "source": self.source, "dataset": self.dataset, "blocks": self.blocks, "n_images": self.n_images,
                "seed": self.seed}  # fmt: skip

    @property
    def contents(self) -> dict:
        """All that decides what it answers, for the key of a cell."""
        return {
            "source": sources.card_of(self.source).sha256, "weights": self.weights and files.sha256_of(Path(self.weights)),
            "data": card_of(self.dataset).splits["test"].sha256, "resolution": self.resolution,
            "part": self.part and self.part.model_dump(),
        }  # fmt: skip

    def network(self) -> "nn.Sequential":
        """In eval mode, with the trained part of the cell in place where there is one."""
        from stages.lib.networks import units
        from stages.lib.training import finetuning  # here, as torch takes seconds to import

        if self.weights is None:
            return sources.load(self.source)
        card = sources.card_of(self.source)
        weights = files.read_tensors(sources.paths(self.source)[0]) if card.kind != "random" else None
        network = finetuning.start(card.architecture, weights, card_of(self.dataset).classes, "default", seed=self.seed)
        trained = network if self.blocks == "all" else units.split(network, int(self.blocks))[1]
        kept = files.read_tensors(Path(self.weights))
        units.load(trained, {name: kept[name] for name in trained.state_dict() if name in kept})  # none of them is missing
        units.load(network, network.state_dict() | kept)
        return network.eval()


def models_of(source: str, target: str) -> list[Model]:
    """The source on its own data, where it has any, and every fine-tuned model whose weights were kept."""
    card = sources.card_of(source)
    models = [Model(source, card.dataset, part=card.part)] if "test" in card.accuracy and at_hand(card.dataset) else []
    kept = kept_weights(source, target)
    resolution = files.read_json(kept / "settings.json")["resolution"]
    for path in sorted(kept.glob("*.safetensors")):
        blocks, subset = path.stem.split("_", 1)
        models.append(Model(source, target, blocks, *subsets.size_and_seed_of(subset), str(path), resolution))
    return models


def at_hand(dataset: str) -> bool:
    """Whether its test images are: a set may be left out, or be a folder that is not on this machine."""
    return (IMAGES / dataset / "card.json").is_file() and "test" in card_of(dataset).splits
