"""Scores of a classifier: the gradients of log p(y|x) by the logits, with which every Fisher information of a classifier begins.

A Fisher information is the expectation of the outer product of a score with itself, over labels y that the classifier itself gives.
Where p is the softmax of the logits, that by the logits is diag(p) - p p^T.
"""

from collections.abc import Iterator

import torch
from torch import Tensor

ALL = "all"  # labels: each one, weighted by its probability, so that nothing is drawn


def of_all_labels(logits: Tensor) -> Iterator[Tensor]:  # [batch, classes] -> classes x [batch, classes]
    """sqrt(p(y|x)) grad log p(y|x), one label after the other: their outer products add up to the expectation over labels."""
    p = logits.detach().softmax(1)
    for y in range(p.shape[1]):
        score = -p
        score[:, y] += 1
        yield p[:, y : y + 1].sqrt() * score


def of_drawn_labels(logits: Tensor, uniform: Tensor) -> Iterator[Tensor]:  # [batch, classes], [draws, batch] -> draws x [batch, classes]
    """grad log p(y|x) / sqrt(draws) of labels y that are drawn from p(y|x).

    Args:
        uniform: in [0, 1), a number for each draw and image; it decides the label of the image, whatever batch that is in.
    """
    p = logits.detach().softmax(1)
    below = p.cumsum(1)
    for u in uniform.to(p.device):
        y = (below <= u[:, None]).sum(1).clamp(max=p.shape[1] - 1)  # as the last sum may be less than 1 by rounding
        yield (torch.nn.functional.one_hot(y, p.shape[1]) - p) / len(uniform) ** 0.5
