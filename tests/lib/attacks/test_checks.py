"""Networks and attacks that are broken on purpose, by the checks that fail for them; and honest ones, for which none does."""

from dataclasses import dataclass
from functools import partial
from itertools import product

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from stages.lib.attacks import checks, evaluation, pgd
from stages.lib.attacks.checks import Attack, Check, Trial
from stages.lib.datasets import pixels
from stages.lib.networks import units
from stages.lib.training import loop

NAMES = ["repeat", "batch", "gradient", "slope", "large eps", "one step", "margin", "black box", "transfer"]
RADII = {"l2": [0.25, 0.5, 1.0], "linf": [0.01, 0.03, 0.06]}
PGD = {"kind": "pgd", "steps": 10, "step_ratio": 2.5, "random_start": True}


class Through(nn.Module):
    """A function of the images or of the logits."""

    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x)


class RandomSigns(torch.autograd.Function):
    """Leaves the images as they are, and gives their gradient random signs."""

    @staticmethod
    def forward(context, x: Tensor) -> Tensor:
        return x.clone()

    @staticmethod
    def backward(context, gradient: Tensor) -> Tensor:
        return gradient * torch.sign(torch.randn_like(gradient))


def rounded(x: Tensor, levels: float) -> Tensor:
    """In steps, so that no gradient passes."""
    return torch.round(x.detach() * levels) / levels + 0 * x


def of_the_batch(x: Tensor) -> Tensor:
    """Normalised by the images that happen to be there, as batch norm left in train mode does."""
    return (x - x.mean((0, 2, 3), keepdim=True)) / (x.std((0, 2, 3), keepdim=True) + 0.1)


@dataclass(frozen=True)
class Victims:
    natural: nn.Sequential
    robust: nn.Sequential
    x: np.ndarray  # images that both label correctly
    y: np.ndarray


def blobs(n: int) -> tuple[np.ndarray, np.ndarray]:
    """Of a colour of their own at one of four places, with noise: uint8 [n, 16, 16, 3]."""
    random = np.random.default_rng(n)
    y = np.arange(n) % 4
    x = 0.5 + 0.08 * random.standard_normal((n, 16, 16, 3))
    for image, label in zip(x, y, strict=True):
        row, column = 2 + 8 * (label // 2), 2 + 8 * (label % 2)
        image[row : row + 5, column : column + 5] += 0.12 * random.standard_normal(3) + 0.1
    return (255 * x.clip(0, 1)).astype(np.uint8), y


@pytest.fixture(scope="module")
def victims() -> Victims:
    x, y = blobs(192)

    def trained(**attack) -> nn.Sequential:
        torch.manual_seed(0)
        network = units.build("small_resnet", 4, [0.5] * 3, [0.25] * 3)
        loop.train(network, x, torch.from_numpy(y), epochs=4, batch_size=32, lr=0.05, momentum=0.9, weight_decay=0.0,
                   schedule=lambda progress: 1 - progress, seed=0, **attack)  # fmt: skip
        return network.eval()

    networks = trained(), trained(perturb_at=lambda progress: pgd.make(norm="linf", eps=0.03 * progress, steps=3, step_ratio=2))
    test_x, test_y = blobs(80)
    right = np.flatnonzero(np.logical_and.reduce([evaluation.predicted(network, test_x, pixels.prepare) == test_y for network in networks]))
    assert len(right) >= 32
    return Victims(*networks, test_x[right[:32]], test_y[right[:32]])


def checked(victims: Victims, network: nn.Module, norm: str = "linf", attack: dict = PGD, other: bool = True) -> list[Check]:
    trial = Trial(network, victims.x, victims.y, pixels.prepare, seed=0)
    attacks = [Attack(partial(evaluation.perturbation, attack, norm))]
    found = list(checks.checks(trial, norm=norm, radii=RADII[norm], attacks=attacks, other=victims.robust if other else None))
    assert [check.name for check in found] == NAMES
    return found


def failed(*of, **settings) -> set[str]:
    return {check.name for check in checked(*of, **settings) if not check.passed}


@pytest.mark.parametrize("norm", RADII)
@pytest.mark.parametrize("kind", ["natural", "robust"])
def test_an_honest_evaluation_passes_every_check(victims, kind, norm):
    assert failed(victims, getattr(victims, kind), norm) == set()


BLIND = {"black box", "transfer"}  # rivals that follow no gradient of the network
BROKEN = {  # what the images or the logits go through, and the checks that must fail
    "noise": ("images", lambda x: x + 0.01 * torch.randn_like(x), {"repeat"}),
    "statistics of the batch": ("images", of_the_batch, {"batch"}),
    "rounded pixels": ("images", partial(rounded, levels=15), {"gradient", "slope", "large eps"} | BLIND),
    "rounded logits": ("logits", partial(rounded, levels=1), {"gradient", "slope"} | BLIND),
    "a softmax that is saturated": ("logits", lambda z: 1e6 * z, {"gradient", "margin"} | BLIND),
    "shattered gradients": ("images", lambda x: x + 0.005 * torch.sin(3e4 * x), {"slope"} | BLIND),
    "gradients of random sign": ("images", RandomSigns.apply, {"slope"} | BLIND),
    "no numbers": ("logits", lambda z: z * float("nan"), {"repeat", "batch", "gradient", "slope"}),
}
WEAK = {  # settings of an attack that is too weak for the natural network, and the checks that must fail
    "short steps": (PGD | {"steps": 2, "step_ratio": 0.1}, {"one step", "margin"} | BLIND),
}


@pytest.mark.parametrize(("name", "norm"), [*product(BROKEN, ["linf"]), ("shattered gradients", "l2")])
def test_a_broken_network_is_caught(victims, name, norm):
    where, function, expected = BROKEN[name]
    parts = [Through(function), victims.natural] if where == "images" else [victims.natural, Through(function)]
    assert expected <= failed(victims, nn.Sequential(*parts), norm)


@pytest.mark.parametrize("name", WEAK)
def test_a_weak_attack_is_caught(victims, name):
    attack, expected = WEAK[name]
    assert expected <= failed(victims, victims.natural, attack=attack)


def test_each_check_fails_for_one_of_these():
    assert set().union(*(expected for *_, expected in [*BROKEN.values(), *WEAK.values()])) == set(NAMES)


def test_without_another_network_the_check_says_so(victims):
    says = {check.name: check.says for check in checked(victims, victims.robust, other=False)}
    assert says["transfer"].startswith("no other network")
