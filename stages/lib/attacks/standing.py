"""Several attacks in turn: each one moves only the images that stand against those before it."""

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from stages.lib.attacks.attack import Perturb


@torch.no_grad()
def labelled(model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    """Whether the model gives each image its label; bool [batch]."""
    return model(x).argmax(1) == y


def in_turn(attacks: Iterable[Perturb], model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    """The images after all attacks; those that are labelled wrongly from the start are left as they are.

    Images that stand against every attack are returned as the last attack moved them. The model is in eval mode already.
    """
    moved = x.detach().clone()
    left = torch.nonzero(labelled(model, moved, y)).flatten()
    for attack in attacks:
        if not len(left):
            break
        moved[left] = attack(model, x[left], y[left])
        left = left[labelled(model, moved[left], y[left])]
    return moved
