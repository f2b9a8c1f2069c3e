"""The source `src`, its data `noise` and the cue-conflict set `clash`, as experiments on shape and texture take them."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import kinds
import numpy as np
import pytest
import torch

from stages.lib.networks import sources
from stages.lib.networks.pretrained import Pretrained
from stages.lib.runs.experiments import Run

ATTACK = {"kind": "pgd", "norm": "l2", "steps": 3, "step_ratio": 2.5, "random_start": False}


@contextmanager
def source_in(folder: Path) -> Iterator[Pretrained]:
    """The source, while the folder is the current one."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("DVC_ROOT", str(folder))
        kinds.prepare(folder)
        kinds.clash(folder)
        yield sources.pretrained_of(sources.card_of("src"))


def run(target: str, how: dict, also: str | None = None, seed: int = 0) -> Run:
    return Run("tried", "src", target, "tried", 0, seed, how, {}, "nowhere", also=also)


def logits_of(network: torch.nn.Module, x: np.ndarray) -> torch.Tensor:
    with torch.no_grad():
        return network(torch.from_numpy(np.array(x)).permute(0, 3, 1, 2).float() / 255)
