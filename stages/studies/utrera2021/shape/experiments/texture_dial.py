"""A source at one place of the texture dial: its shape bias, or its accuracy on a target that it is fine-tuned on."""

from pathlib import Path
from typing import TYPE_CHECKING

from torch import Tensor

from stages.lib.networks.devices import best_device
from stages.lib.networks.pretrained import Pretrained
from stages.lib.store.tables import DIVERGED
from stages.studies.utrera2021.shape.experiments import shape_bias, tuning
from stages.studies.utrera2021.shape.measures import ACCURACY

if TYPE_CHECKING:
    from stages.lib.runs.experiments import Run


def compute(run: "Run", source: Pretrained, stored: Path | None) -> tuple[dict[str, float], dict[str, Tensor] | None]:
    """In a worker: `shape`, `texture` and `shape_bias` on the cue-conflict set, or the `accuracy` on the target."""
    if "finetuning" not in run.how:
        return shape_bias.conflict_answers(source.network().to(best_device()), run.target)
    _, accuracy, diverged = tuning.finetuned(source, run.target, run.how["blocks"], run.how["finetuning"], run.seed)
    return {ACCURACY: accuracy} | ({DIVERGED: 1.0} if diverged else {}), None
