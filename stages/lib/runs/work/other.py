"""Another network that sees the images of an evaluation: one whose adversarial examples the evaluated network is tried on."""

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn

from stages.lib.attacks.evaluation import BATCH, See
from stages.lib.datasets import sampling
from stages.lib.datasets.sets import card_of, load_part, n_classes
from stages.lib.networks import units

if TYPE_CHECKING:
    from stages.lib.runs.attacked import AttackedNetwork, OtherNetwork

FITTED, OF_CLASS = 512, 10  # training images that a head is fitted to: so many, or so many of each class if that is more
RIDGE = 1e-3  # of the mean square of a feature: what its penalty weighs


def network_of(other: "OtherNetwork", attacked: "AttackedNetwork", see: See, device: torch.device) -> nn.Module:
    """The other source in eval mode: as it is, or with a linear head on its features that is fitted to the attacked network's data."""
    network = other.source.network().to(device)
    if other.own_head:
        return network
    x, y = load_part(attacked.dataset, "train", attacked.part, other.train)
    classes = n_classes(attacked.part, card_of(attacked.dataset).classes)
    drawn = sampling.stratified(y, max(FITTED, OF_CLASS * classes))
    body = units.split(network, 0)[0]
    x, y = np.array(x[drawn]), y[drawn]
    with torch.no_grad():
        features = torch.cat([body(see(x[i : i + BATCH])) for i in range(0, len(x), BATCH)])
    return nn.Sequential(body, ridge(features, torch.from_numpy(y).to(device), classes)).eval()


def ridge(z: Tensor, y: Tensor, classes: int) -> nn.Linear:
    """A linear head whose outputs are the least-squares fit to the classes as 0 and 1, with a penalty on the weights' squares.

    Args:
        z: features, [n, width].
        y: labels, [n].
    """
    mean, wanted = z.mean(0), nn.functional.one_hot(y, classes).to(z.dtype)
    centred = z - mean
    penalty = RIDGE * len(z) * centred.square().mean() * torch.eye(z.shape[1], dtype=z.dtype, device=z.device)
    weight = torch.linalg.solve(centred.T @ centred + penalty, centred.T @ (wanted - wanted.mean(0)))
    head = nn.Linear(*weight.shape).to(z.device)
    with torch.no_grad():
        head.weight.copy_(weight.T)
        head.bias.copy_(wanted.mean(0) - mean @ weight)
    return head
