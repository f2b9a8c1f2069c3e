"""What a source names in images whose shape is of one class and whose texture is of another (Geirhos et al. 2019), as it is or fine-tuned
on stylised images, and its accuracy on these (Utrera et al. 2021, Table 1a).
"""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn

from stages.lib.datasets.sets import card_of, load
from stages.lib.networks import inference
from stages.lib.networks.devices import best_device
from stages.lib.networks.inference import CutNetwork, View
from stages.lib.networks.pretrained import Pretrained
from stages.lib.store.tables import CORRECT, DIVERGED, IMAGE
from stages.studies.utrera2021.shape import categories
from stages.studies.utrera2021.shape.experiments import tuning
from stages.studies.utrera2021.shape.measures import ACCURACY, BIAS, SHAPE, TEXTURE

if TYPE_CHECKING:
    from stages.lib.runs.experiments import Run


def compute(run: "Run", source: Pretrained, stored: Path | None) -> tuple[dict[str, float], dict[str, Tensor]]:
    """In a worker: percent of the cue-conflict images that are named by their `shape`, and by their `texture`; their `shape_bias`; and the
    `accuracy` on the stylised images, where there are any.
    """
    values, network = {}, None
    if "finetuning" in run.how:
        network, values[ACCURACY], diverged = tuning.finetuned(source, run.target, run.how["blocks"], run.how["finetuning"], run.seed)
        values |= {DIVERGED: 1.0} if diverged else {}
    else:
        network = source.network().to(best_device())
        if run.also is not None:  # then the target has the classes of the source
            categories.check_classes(run.target, card_of(run.target).classes, network.head.out_features)
            model = CutNetwork(None, network, View(card_of(run.target).image_size))
            values[ACCURACY] = inference.accuracy(model, *load(run.target, "test"))
    named, arrays = conflict_answers(network, run.also or run.target)
    return values | named, arrays


def conflict_answers(network: nn.Sequential, conflict: str) -> tuple[dict[str, float], dict[str, Tensor]]:
    """Accuracy by shape, by texture and the shape bias on a cue-conflict set, in percent; which images were named by which.

    Shape bias is the share of shape among the images that are named by their shape or their texture; 50 where none is.
    """
    card, (x, y) = card_of(conflict), load(conflict, "test")
    groups = categories.groups_of(conflict, card.class_names or [], network.head.out_features)
    model = CutNetwork(None, network, View(card.image_size))
    model.eval()
    with torch.no_grad():
        named = torch.cat(list(inference.in_batches(lambda batch: categories.answers(model(x[batch]), groups), len(x)))).cpu().numpy()
    right = {SHAPE: named == y[:, 0], TEXTURE: named == y[:, 1]}
    counts = {name: int(correct.sum()) for name, correct in right.items()}
    values = {name: 100 * count / len(x) for name, count in counts.items()}
    values[BIAS] = 100 * counts[SHAPE] / sum(counts.values()) if sum(counts.values()) else 50.0
    arrays = {CORRECT + name: torch.from_numpy(np.array(correct)) for name, correct in right.items()}
    return values, arrays | {IMAGE + name: torch.arange(len(x)) for name in right}
