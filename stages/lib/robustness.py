"""Accuracy under attack: what a model still labels correctly when every image may move within a ball."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from stages.lib import attacks
from stages.lib.images import prepare

BATCH = 128


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
    standing = np.flatnonzero(_predict(network, x) == y)
    yield UnderAttack(norm, 0.0, 100 * len(standing) / len(x), len(x))
    for eps in sorted(set(radii) - {0.0}):
        perturb = attacks.pgd(norm=norm, eps=eps, steps=steps, step_ratio=step_ratio, random_start=True)
        torch.manual_seed(seed)
        survived = [_survivors(network, perturb, x, y, standing[i : i + BATCH]) for i in range(0, len(standing), BATCH)]
        standing = np.concatenate(survived) if survived else standing
        yield UnderAttack(norm, eps, 100 * len(standing) / len(x), len(x))
        tick()


def _survivors(network: nn.Module, perturb: attacks.Perturb, x: np.ndarray, y: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Which of the rows are still labelled correctly."""
    labels = torch.from_numpy(y[rows])
    with torch.no_grad():
        predicted = network(perturb(network, _images(x[rows]), labels)).argmax(1)
    return rows[(predicted == labels).numpy()]


@torch.no_grad()
def _predict(network: nn.Module, x: np.ndarray) -> np.ndarray:  # int64 [n]
    network.eval()
    return torch.cat([network(_images(x[i : i + BATCH])).argmax(1) for i in range(0, len(x), BATCH)]).numpy()


def examples(
    network: nn.Module, x: np.ndarray, y: np.ndarray, *, norm: str, eps: float, steps: int, step_ratio: float, seed: int
) -> Example:
    """The images x (uint8 [k, H, W, 1 or 3]) beside what PGD(k) makes of them."""
    images, labels = _images(x), torch.from_numpy(y)
    torch.manual_seed(seed)
    moved = attacks.pgd(norm=norm, eps=eps, steps=steps, step_ratio=step_ratio, random_start=True)(network.eval(), images, labels)
    with torch.no_grad():
        before, after = (network(batch).argmax(1).numpy() for batch in (images, moved))
    pictures = [batch.permute(0, 2, 3, 1).contiguous().numpy() for batch in (images, moved)]
    return Example(eps, *pictures, y, before, after)


def _images(x: np.ndarray) -> torch.Tensor:
    return prepare(x, torch.device("cpu"))
