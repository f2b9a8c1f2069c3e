"""The card of a model to take home: all that is needed to use its weights, and where they come from.

Such a model is a folder of two files, `card.json` and `weights.safetensors`. This module needs Python alone, as the model takes it along.
"""

import dataclasses
import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from stages.lib.errors import RunError

CARD, WEIGHTS = "card.json", "weights.safetensors"


@dataclass(frozen=True)
class Card:
    """What a model is, what it takes, and how it was made. Values that a source does not have are None."""

    kind: Literal["source", "finetuned"]
    source: str  # the source, or what was fine-tuned
    dataset: str  # on whose training images it was trained; of a fine-tuned model, the target
    architecture: str
    classes: list[str]  # their names, in the order of the outputs
    image_size: int  # pixels a side of the images that it takes
    channels: int  # that images have; three equal ones are made of one
    crop: float  # side of the central square of an image that it sees over the shorter side
    resolution: int | None  # pixels a side to which images are reduced first; None: they are not
    mean: list[float]  # per channel, in [0, 1], that the network normalises with
    std: list[float]
    threat: dict[str, Any] | None  # norm and eps (pixel units of [0, 1]) of the source's adversarial training
    origin: str  # of the source
    blocks: str | None  # that were fine-tuned besides the head
    n_images: int | None  # of the target that it was fine-tuned on
    seed: int | None
    epochs: int | None  # of the fine-tuning
    training: dict[str, Any] | None  # settings of the fine-tuning
    test_accuracy: float | None  # percent of the test images of the dataset
    n_test: int | None  # of these
    images_sha256: dict[str, str]  # of each split of the dataset, where it was at hand
    cell: str | None  # the key of the run in the cell store, which holds all that decided its result
    code: str | None  # the hash of the code that fine-tuned it
    torch: str  # version
    sha256: str  # of weights.safetensors
    format: int = 1

    @property
    def title(self) -> str:
        """The model in a few words."""
        if self.kind == "source":
            return f"{self.source}, trained on {self.dataset}"
        blocks = {"all": "all blocks", "1": "1 block", "last_norm": "the last batch norm", "norms": "all batch norms"}.get(
            self.blocks, f"{self.blocks} blocks"
        )
        return f"{self.source}, fine-tuned on {self.n_images:,} images of {self.dataset} ({blocks}, seed {self.seed})"

    def text(self) -> str:
        """The content of card.json."""
        return json.dumps(dataclasses.asdict(self), indent=2, allow_nan=False) + "\n"


def read(folder: Path) -> Card:
    """The card in a folder.

    Raises:
        RunError: names the file, when it is missing or no card.
    """
    path = Path(folder) / CARD
    try:
        return Card(**json.loads(path.read_text()))
    except FileNotFoundError:
        raise RunError(f"{path}: the file is missing; a model to take home is a folder with {CARD} and {WEIGHTS}") from None
    except (ValueError, TypeError, OSError) as error:
        raise RunError(f"{path}: no card of a model ({error}); `dvc repro export` makes it again") from None


def weights_of(folder: Path, card: Card) -> Path:
    """The file of the weights; raises RunError when it is missing, or not what the card names."""
    path = Path(folder) / WEIGHTS
    if not path.is_file() or hashlib.sha256(path.read_bytes()).hexdigest() != card.sha256:
        raise RunError(f"{path}: its sha256 is not that of its card; `dvc repro export` makes it again")
    return path
