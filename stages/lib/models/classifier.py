"""A model to take home, in use: images in, labels with their probabilities out.

What this module imports, directly or not, is all the code that a model needs beside torch, safetensors and, for architectures of
torchvision or timm, that library: a model that is logged in MLflow takes these files along, and runs where this project is not installed.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor

from stages.lib.models import card as cards
from stages.lib.models.card import Card
from stages.lib.networks import inference, units
from stages.lib.networks.devices import best_device
from stages.lib.networks.names import known

if TYPE_CHECKING:
    import pandas as pd


class Classifier:
    """A network that sees images as its card says, on the best device of this machine."""

    def __init__(self, card: Card, weights: dict[str, Tensor]):
        network = units.build(known(card.architecture), len(card.classes), card.mean, card.std)
        units.load(network, weights)
        view = inference.View(card.image_size, card.resolution)
        self.card = card
        self.model = inference.CutNetwork(None, network.to(best_device(), memory_format=torch.channels_last), view)
        self.model.eval()

    @torch.no_grad()
    def probabilities(self, x: np.ndarray) -> np.ndarray:
        """The probability of each class, float32 [n, classes], of square images, uint8 [n, side, side, channels].

        Raises:
            ValueError: for an array of another type or shape.
        """
        if x.dtype != np.uint8 or x.ndim != 4 or x.shape[1] != x.shape[2] or x.shape[3] != self.card.channels:
            allowed = f"uint8 [n, side, side, {self.card.channels}]"
            raise ValueError(f"images are {x.dtype} {list(x.shape)}; allowed: {allowed}")
        parts = inference.in_batches(lambda places: self.model(x[places]).softmax(1).cpu(), len(x))
        return torch.cat([torch.empty(0, len(self.card.classes)), *parts]).numpy()

    def labels(self, x: np.ndarray) -> list[tuple[str, float]]:
        """The name of each image's most probable class, and its probability; x as above."""
        found = self.probabilities(x)
        return [(self.card.classes[best], float(row[best])) for best, row in zip(found.argmax(1), found, strict=True)]


def tensors(arrays: dict[str, np.ndarray]) -> dict[str, Tensor]:
    """Weights that were read as NumPy arrays."""
    return {name: torch.from_numpy(array) for name, array in arrays.items()}


def load(folder: Path) -> Classifier:
    """The model in a folder.

    Raises:
        RunError: when its files are missing, or not those of its card.
    """
    card = cards.read(folder)
    return Classifier(card, load_file(cards.weights_of(folder, card)))


class Served:
    """The model as MLflow calls it."""

    def __init__(self, classifier: Classifier):
        self.classifier = classifier

    def predict(self, model_input: np.ndarray, params: dict[str, Any] | None = None) -> "pd.DataFrame":
        """Columns `label` and `probability`, a row for each image."""
        import pandas as pd  # here, as MLflow has it, and nothing else in this module needs it

        return pd.DataFrame(self.classifier.labels(model_input), columns=["label", "probability"])


def _load_pyfunc(path: str) -> Served:
    """What MLflow calls to load the model."""
    return Served(load(Path(path)))
