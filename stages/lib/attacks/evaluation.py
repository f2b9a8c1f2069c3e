"""Accuracy under attack: what a model still labels correctly when every image may move within a ball."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from stages.lib.attacks import table
from stages.lib.attacks.attack import Perturb
from stages.lib.datasets import pixels
from stages.lib.networks.layers.folded import folded

BATCH = 128

See = Callable[[np.ndarray], Tensor]  # uint8 [n, H, W, 1 or 3] to float [n, 3, size, size] in [0, 1], on the network's device
Aim = Callable[[Tensor, Tensor], Tensor]  # logits [batch, classes] and labels [batch] to the labels that the attack is given


@dataclass(frozen=True)
class Example:
    """Images before and after an attack; NHWC in [0, 1]."""

    eps: float
    clean: np.ndarray  # float32 [k, H, W, 3]
    adversarial: np.ndarray  # float32 [k, H, W, 3]
    label: np.ndarray  # int64 [k]
    predicted_clean: np.ndarray  # int64 [k]
    predicted_adversarial: np.ndarray  # int64 [k]


def perturbation(attack: dict[str, Any], norm: str, eps: float) -> Perturb:
    """The attack that a section of params.yaml describes (`settings.attacks.AnyAttack`), within a ball.

    An attack with a `target` is led to the labels of its aim (`aim_of`).
    """
    settings = {name: value for name, value in attack.items() if name not in ("kind", "target", "from_largest")}
    if attack.get("target") is not None:
        settings["targeted"] = True
    return table.make(attack["kind"], norm=norm, eps=eps, **settings)


def aim_of(attack: dict[str, Any]) -> Aim:
    """The images' own labels, or for a targeted attack those that it leads to."""
    return AIMS[attack.get("target")]


def _least_likely(logits: Tensor, y: Tensor) -> Tensor:
    return logits.scatter(1, y[:, None], torch.inf).argmin(1)


def _random(logits: Tensor, y: Tensor) -> Tensor:
    """Any class but the label, each as likely."""
    classes = logits.shape[1]
    return (y + torch.randint(1, classes, y.shape, device=y.device)) % classes


AIMS: dict[str | None, Aim] = {None: lambda logits, y: y, "least_likely": _least_likely, "random": _random}


def standing_against_eps(
    network: nn.Module,
    x: np.ndarray,  # uint8 [n, H, W, 1 or 3]
    y: np.ndarray,  # int64 [n]
    *,
    see: See = pixels.prepare,
    at: Callable[[float], Perturb],
    radii: list[float],
    seed: int,
    aim: Aim = AIMS[None],
    from_largest: bool = False,
) -> Iterator[tuple[float, np.ndarray]]:
    """Each radius, from 0 up, and which images still stand there: labelled correctly, and at every smaller radius too; bool [n].

    An image that is labelled wrongly at a radius counts as wrong at every larger one, whose ball holds the same
    perturbation; so only those that still stand are attacked again, and accuracy cannot rise with eps.

    Args:
        see: how the network sees images.
        at: the attack of a radius.
        seed: of the attacks' random draws.
        from_largest: attack at the largest radius first. An image that stands there counts as standing at every smaller one, whose
            ball lies within, and is not attacked again.
    """
    standing = right = predicted(network, x, see) == y
    yield 0.0, right
    fast = folded(network)
    rising, lost = sorted(set(radii) - {0.0}), right

    def stood(eps: float, attacked: np.ndarray) -> np.ndarray:
        torch.manual_seed(seed)
        return withstood(network, x, y, attacked, see=see, perturb=at(eps), aim=aim, fast=fast)

    if from_largest:
        lost_at = {eps: (lost := lost & ~stood(eps, lost)) for eps in rising[::-1]}
        yield from ((eps, right & ~lost_at[eps]) for eps in rising)
    else:
        yield from ((eps, standing := stood(eps, standing)) for eps in rising)


def withstood(
    network: nn.Module, x: np.ndarray, y: np.ndarray, attacked: np.ndarray, *, see: See, perturb: Perturb, aim: Aim = AIMS[None],
    fast: nn.Module | None = None,
) -> np.ndarray:  # fmt: skip
    """Which of the images that are attacked (bool [n]) are labelled correctly afterwards; False for the others.

    The attack follows the network with its batch norms folded, which is faster and the same up to rounding. The network itself labels
    what it finds.

    Args:
        fast: `folded(network)`, where there are several attacks on one network.
    """
    stood, rows = np.zeros(len(x), dtype=bool), np.flatnonzero(attacked)
    fast = folded(network) if fast is None else fast
    for some in np.split(rows, range(BATCH, len(rows), BATCH)) if len(rows) else []:
        batch = see(x[some])
        labels = torch.from_numpy(y[some]).to(batch.device)
        stood[some] = (_attacked_labels(network, fast, batch, labels, perturb, aim)[1] == labels).cpu().numpy()
    return stood


def _attacked_labels(network: nn.Module, fast: nn.Module, x: Tensor, y: Tensor, perturb: Perturb, aim: Aim) -> tuple[Tensor, Tensor]:
    """The images after the attack on `fast`, and the labels that the network gives them.

    Where the weights of a network are no numbers, neither are its gradients: a pixel that such an attack spoils stays as it was.
    """
    with torch.no_grad():
        aims = aim(network(x), y) if aim is not AIMS[None] else y
    moved = perturb(fast, x, aims)
    moved = torch.where(moved.isfinite(), moved, x)
    with torch.no_grad():
        return moved, network(moved).argmax(1)


@torch.no_grad()
def predicted(network: nn.Module, x: np.ndarray, see: See) -> np.ndarray:  # int64 [n]
    network.eval()
    return torch.cat([network(see(x[i : i + BATCH])).argmax(1) for i in range(0, len(x), BATCH)]).cpu().numpy()


def examples(
    network: nn.Module, x: np.ndarray, y: np.ndarray, *, see: See = pixels.prepare, perturb: Perturb, eps: float, seed: int,
    aim: Aim = AIMS[None],
) -> Example:  # fmt: skip
    """The images x (uint8 [k, H, W, 1 or 3]) beside what the attack makes of them."""
    clean = see(x)
    labels = torch.from_numpy(y).to(clean.device)
    torch.manual_seed(seed)
    before = predicted(network, x, see)
    moved, after = _attacked_labels(network, folded(network), clean, labels, perturb, aim)
    pictures = [batch.permute(0, 2, 3, 1).contiguous().cpu().numpy() for batch in (clean, moved)]
    return Example(eps, *pictures, y, before, after.cpu().numpy())
