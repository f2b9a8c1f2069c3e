"""The difference of logits ratio, a margin that does not depend on the scale of the logits (Croce & Hein, ICML 2020, Section 4).

The denominators are a difference of the first logit and the third, and of the first and the mean of the third and the fourth. With
fewer classes there are no such logits. Then the targeted ratio of three classes has the denominator of the other ratio, and of two
classes both ratios are the margin itself: the only difference there is would be divided by itself, and would have no gradient.
"""

import math

import torch
from torch import Tensor, nn

from stages.lib.attacks.attack import margin

TINY = 1e-12  # added to the denominators, as released


def ratio(logits: Tensor, y: Tensor) -> Tensor:  # [batch, classes], [batch] -> [batch]
    """DLR, eq. 6: the highest logit of another class minus that of the label, over the first logit minus the third."""
    return margin(logits, y) / _spread(logits, fourth=False)


def targeted_ratio(logits: Tensor, y: Tensor, target: Tensor) -> Tensor:  # [batch, classes], [batch], [batch] -> [batch]
    """Targeted DLR, eq. 7: the target's logit minus the label's, over the first logit minus the mean of the third and the fourth."""
    return difference(logits, y, target) / _spread(logits, fourth=True)


def difference(logits: Tensor, y: Tensor, target: Tensor) -> Tensor:  # [batch, classes], [batch], [batch] -> [batch]
    """The target's logit minus the label's."""
    return (logits.gather(1, target[:, None]) - logits.gather(1, y[:, None])).squeeze(1)


def _spread(logits: Tensor, *, fourth: bool) -> Tensor | float:
    classes = logits.shape[1]
    if classes < 3:
        return 1.0
    ranked = logits.topk(min(4, classes), dim=1).values
    lower = ranked[:, 2:4].mean(1) if fourth else ranked[:, 2]
    return ranked[:, 0] - lower + TINY


@torch.no_grad()
def ranked_target(model: nn.Module, x: Tensor, y: Tensor, rank: int) -> Tensor:  # [batch]
    """The class whose logit is the highest but so many among those that are not the label; rank 0 is the highest."""
    return model(x).scatter(1, y[:, None], -math.inf).topk(rank + 1, dim=1).indices[:, rank]


@torch.no_grad()
def targets_at_hand(model: nn.Module, x: Tensor, targets: int) -> int:
    """How many targets there are: as many as are asked for, or all classes but the label where these are fewer."""
    return min(targets, model(x[:1]).shape[1] - 1)
