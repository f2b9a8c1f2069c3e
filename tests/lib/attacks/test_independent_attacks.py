"""Against implementations that share no line with ours: on the same models, images and radii, PGD and APGD find as many errors.

Starts are random, so that of two equally good attacks each finds errors that the other does not; which of them finds such an error is the toss of
a coin (the exact test of McNemar). How many there are depends on the processor's rounding, by which the trained networks differ.
"""

import numpy as np
import pytest
import torch
from scipy import stats
from torch import nn

from benchmarks.attacks import RATIO, STEPS, art_apgd, foolbox_pgd
from stages.lib.attacks import pgd
from stages.lib.attacks.autoattack import apgd, apgd_pgd, standard
from stages.lib.networks import units
from stages.lib.training import loop

BY_CHANCE = 1e-4  # how often an attack as good as the other would fail here, on whatever processor
CASES = {"cross_entropy": [("linf", 0.01), ("l2", 0.4)], "margin": [("linf", 0.03), ("l2", 0.15)], "dlr": [("linf", 0.02), ("l2", 0.2)]}


def data(n: int) -> tuple[np.ndarray, np.ndarray]:
    """Blobs of four colours at four places, with noise: uint8 [n, 16, 16, 3]."""
    random = np.random.default_rng(n)
    y = random.integers(4, size=n)
    x = 0.5 + 0.08 * random.standard_normal((n, 16, 16, 3))
    for image, label in zip(x, y, strict=True):
        row, column = 2 + 8 * (label // 2), 2 + 8 * (label % 2)
        image[row : row + 5, column : column + 5] += 0.12 * random.standard_normal(3) + 0.1
    return (255 * x.clip(0, 1)).astype(np.uint8), y


@pytest.fixture(scope="module", params=["natural", "adversarial"])
def victim(request) -> tuple[nn.Sequential, torch.Tensor, torch.Tensor]:
    x, y = data(400)
    torch.manual_seed(0)
    network = units.build("small_resnet_x0_5", 4, [0.5] * 3, [0.25] * 3)
    attack = {"perturb_at": lambda progress: pgd.make(norm="linf", eps=0.02 * progress, steps=3, step_ratio=2)}
    loop.train(network, x, torch.from_numpy(y), epochs=4, batch_size=32, lr=0.05, momentum=0.9, weight_decay=0.0,
                   schedule=lambda progress: 1 - progress, seed=0, **(attack if request.param == "adversarial" else {}))  # fmt: skip
    x, y = data(200)
    return network.eval(), torch.from_numpy(x).permute(0, 3, 1, 2) / 255, torch.from_numpy(y)


def accuracy(network: nn.Module, x: torch.Tensor, y: torch.Tensor) -> float:
    return (predicted(network, x) == y).double().mean().item() * 100


def predicted(network: nn.Module, x: torch.Tensor) -> torch.Tensor:
    with torch.no_grad():
        return network(x).argmax(1)


def by_chance(only_ours: int, only_theirs: int) -> float:
    """How likely ours succeeds alone on as few of these images, or fewer, if both attacks are equally good."""
    return stats.binom.cdf(only_ours, only_ours + only_theirs, 0.5)


def test_an_attack_that_is_worse_is_told_from_one_that_is_as_good():
    """Of 200 images PGD(5) misses 25 that PGD(20) finds; 4 against 3, as two that are equally good have them, is no difference."""
    assert by_chance(0, 25) < BY_CHANCE < by_chance(0, 13)
    assert by_chance(4, 3) > 0.5
    assert by_chance(0, 0) == 1


def compare(network: nn.Module, x: torch.Tensor, wrong: torch.Tensor, pairs: list[tuple[torch.Tensor, torch.Tensor]]) -> None:
    """Over all pairs of images after our attack and after the other, of which each alone would tell less: neither finds more errors.

    Args:
        wrong: for each image, the label that does not count as an error; with which the attack has failed.
    """
    only = {"ours": 0, "theirs": 0}
    for ours, theirs in ((predicted(network, a) != wrong, predicted(network, b) != wrong) for a, b in pairs):
        only["ours"] += int((ours & ~theirs).sum())
        only["theirs"] += int((theirs & ~ours).sum())
        assert ours.double().mean() > (predicted(network, x) != wrong).double().mean()
    assert by_chance(only["ours"], only["theirs"]) > BY_CHANCE, only


@pytest.mark.parametrize("loss", ["cross_entropy", "margin"])
def test_pgd_finds_as_many_errors_as_that_of_foolbox(victim, loss):
    network, x, y = victim
    torch.manual_seed(0)
    how = {"steps": STEPS, "step_ratio": RATIO, "random_start": True, "loss": loss}
    compare(network, x, y, [
        (pgd.make(norm=norm, eps=eps, **how)(network, x, y), foolbox_pgd(network, x, y, norm, eps, loss)) for norm, eps in CASES[loss]
    ])  # fmt: skip


@pytest.mark.parametrize("victim", ["natural"], indirect=True)
@pytest.mark.parametrize("loss", ["cross_entropy", "dlr"])
def test_apgd_finds_as_many_errors_as_that_of_the_adversarial_robustness_toolbox(victim, loss):
    network, x, y = victim
    torch.manual_seed(0)
    np.random.seed(0)  # of the toolbox
    compare(network, x, y, [
        (apgd.make(norm=norm, eps=eps, loss=loss, steps=STEPS)(network, x, y), art_apgd(network, x, y, norm, eps, loss))
        for norm, eps in CASES[loss]
    ])  # fmt: skip


def test_a_targeted_attack_reaches_its_aim_as_often_as_that_of_foolbox(victim):
    network, x, y = victim
    aim = (y + 1) % 4
    torch.manual_seed(0)
    moved = pgd.make(norm="linf", eps=0.03, steps=STEPS, step_ratio=RATIO, targeted=True, random_start=True)(network, x, aim)
    there = foolbox_pgd(network, x, aim, "linf", 0.03, "cross_entropy", targeted=True)
    ours, theirs = (predicted(network, images) == aim for images in (moved, there))
    only = int((ours & ~theirs).sum()), int((theirs & ~ours).sum())
    assert by_chance(*only) > BY_CHANCE, only
    assert ours.double().mean() > (predicted(network, x) == aim).double().mean()


@pytest.mark.parametrize("victim", ["natural"], indirect=True)
@pytest.mark.parametrize(("norm", "classes"), [("l2", 2), ("linf", 3), ("linf", 4)])
def test_autoattack_and_the_default_take_few_classes_and_leave_no_more_than_pgd(victim, norm, classes):
    network, x, y = victim
    x, y = x[:24], y[:24]
    few = nn.Sequential(network, Few(classes)).eval()
    y = y % classes
    eps = 0.02 if norm == "linf" else 0.3
    left = accuracy(few, pgd.make(norm=norm, eps=eps, steps=STEPS, step_ratio=RATIO)(few, x, y), y)
    for perturb in (standard.make(norm=norm, eps=eps, steps=STEPS, queries=10), apgd_pgd.make(norm=norm, eps=eps)):
        moved = perturb(few, x, y)
        delta = (moved - x).flatten(1)
        assert (delta.norm(dim=1) if norm == "l2" else delta.abs().amax(1)).max() <= eps + 1e-5
        assert moved.min() >= 0
        assert moved.max() <= 1
        assert accuracy(few, moved, y) <= left + 100 / 24


class Few(nn.Module):
    """Four logits folded into fewer."""

    def __init__(self, classes: int):
        super().__init__()
        self.classes = classes

    def forward(self, logits: torch.Tensor) -> torch.Tensor:
        return torch.stack([logits[:, i :: self.classes].logsumexp(1) for i in range(self.classes)], 1)
