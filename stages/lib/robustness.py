"""Accuracy under attack: what a model still labels correctly when every image may move within a ball."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from stages.lib import attacks, images

BATCH = 128


See = Callable[[np.ndarray], Tensor]  # uint8 [n, H, W, 1 or 3] to float [n, 3, size, size] in [0, 1], on the network's device


@dataclass(frozen=True)
class UnderAttack:
    """Accuracy at one radius; eps in pixel units of [0, 1] images, 0 for the images as they are."""

    norm: str
    eps: float
    accuracy: float  # percent
    n_test: int


@dataclass(frozen=True)
class Example:
    """Images before and after the strongest attack of a norm; NHWC in [0, 1]."""

    eps: float
    clean: np.ndarray  # float32 [k, H, W, 3]
    adversarial: np.ndarray  # float32 [k, H, W, 3]
    label: np.ndarray  # int64 [k]
    predicted_clean: np.ndarray  # int64 [k]
    predicted_adversarial: np.ndarray  # int64 [k]


def accuracy_against_eps(
    network: nn.Module,
    x: np.ndarray,  # uint8 [n, H, W, 1 or 3]
    y: np.ndarray,  # int64 [n]
    *,
    see: See = images.prepare,
    norm: str,
    radii: list[float],
    steps: int,
    step_ratio: float,
    seed: int,
    tick: Callable[[], None] = lambda: None,
) -> Iterator[UnderAttack]:
    """Accuracy at each radius, from 0 up, under PGD(k) from a random start.

    An image that is labelled wrongly at a radius counts as wrong at every larger one, whose ball holds the same
    perturbation; so only those that still stand are attacked again, and accuracy cannot rise with eps.
    """
    standing = np.flatnonzero(_predict(network, x, see) == y)
    yield UnderAttack(norm, 0.0, 100 * len(standing) / len(x), len(x))
    for eps in sorted(set(radii) - {0.0}):
        perturb = attacks.pgd(norm=norm, eps=eps, steps=steps, step_ratio=step_ratio, random_start=True)
        torch.manual_seed(seed)
        survived = [_survivors(network, perturb, see(x[rows]), y, rows) for rows in np.split(standing, range(BATCH, len(standing), BATCH))]
        standing = np.concatenate(survived)
        yield UnderAttack(norm, eps, 100 * len(standing) / len(x), len(x))
        tick()


def _survivors(network: nn.Module, perturb: attacks.Perturb, x: Tensor, y: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Which of the rows are still labelled correctly."""
    if not len(rows):
        return rows
    labels = torch.from_numpy(y[rows]).to(x.device)
    with torch.no_grad():
        predicted = network(perturb(network, x, labels)).argmax(1)
    return rows[(predicted == labels).cpu().numpy()]


@torch.no_grad()
def _predict(network: nn.Module, x: np.ndarray, see: See) -> np.ndarray:  # int64 [n]
    network.eval()
    return torch.cat([network(see(x[i : i + BATCH])).argmax(1) for i in range(0, len(x), BATCH)]).cpu().numpy()


def examples(
    network: nn.Module,
    x: np.ndarray,
    y: np.ndarray,
    *,
    see: See = images.prepare,
    norm: str,
    eps: float,
    steps: int,
    step_ratio: float,
    seed: int,
) -> Example:
    """The images x (uint8 [k, H, W, 1 or 3]) beside what PGD(k) makes of them."""
    clean = see(x)
    labels = torch.from_numpy(y).to(clean.device)
    torch.manual_seed(seed)
    moved = attacks.pgd(norm=norm, eps=eps, steps=steps, step_ratio=step_ratio, random_start=True)(network.eval(), clean, labels)
    with torch.no_grad():
        before, after = (network(batch).argmax(1).cpu().numpy() for batch in (clean, moved))
    pictures = [batch.permute(0, 2, 3, 1).contiguous().cpu().numpy() for batch in (clean, moved)]
    return Example(eps, *pictures, y, before, after)
