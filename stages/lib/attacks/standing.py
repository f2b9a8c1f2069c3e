"""Several attacks in turn: each one moves only the images that stand against those before it."""

from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn

from stages.lib.attacks.attack import Perturb, check_images, in_eval_mode
from stages.lib.norms.norm import Norm


@torch.no_grad()
def labelled(model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    """Whether the model gives each image its label; bool [batch]."""
    return model(x).argmax(1) == y


def one_of(attacks: Callable[[nn.Module, Tensor], Iterable[Perturb]], ball: Norm, eps: float) -> Perturb:
    """One attack that is several attacks in turn, within a ball.

    Args:
        attacks: says which they are, for a model and a batch of images.

    Returns:
        perturb(model, x, y), which raises ValueError for x outside [0, 1], and for an eps beyond what lies within. The model is
        attacked in eval mode and left in the mode it was in.
    """

    def perturb(model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        check_images(x, ball, eps)
        if eps == 0:
            return x.detach()
        with in_eval_mode(model):
            return in_turn(attacks(model, x), model, x, y)

    return perturb


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
