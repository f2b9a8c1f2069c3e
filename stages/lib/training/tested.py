"""What networks are tested on while they are fine-tuned: the test images, and training images that are held out."""

from dataclasses import dataclass

import numpy as np

from stages.lib.networks import inference, metrics
from stages.lib.networks.inference import CutNetwork
from stages.lib.networks.layers.nested import Nested


@dataclass(frozen=True)
class Tested:
    """Images, or activations of the frozen part, with their labels."""

    x: np.ndarray
    y: np.ndarray  # int64 [n]
    rows: np.ndarray | None = None  # of x, one for each label; None: all

    def settled(self, model: CutNetwork) -> "Tested":
        """The same as activations of the frozen part, where these find room."""
        x, _ = inference.settled(model, self.x, np.arange(len(self.x)) if self.rows is None else self.rows)
        return self if x is self.x else Tested(x, self.y)

    def scores(self, models: Nested) -> list[dict[str, float]]:
        """Of each network in eval mode the scores, by their names in `metrics.Scores`."""
        return [vars(metrics.scores(predicted, self.y)) for predicted in inference.predictions(models, self.x, self.rows)]
