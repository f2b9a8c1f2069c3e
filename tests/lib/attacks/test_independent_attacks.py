"""Against an implementation that shares no line with ours: on the same models, images and radii, our PGD finds as many errors.

Starts are random, so that of two equally good attacks each finds errors that the other does not; which of them finds such an error is the toss of
a coin (the exact test of McNemar). How many there are depends on the processor's rounding, by which the trained networks differ.
"""

import numpy as np
import pytest
import torch
from scipy import stats
from torch import nn

from stages.lib.attacks import autoattack, pgd
from stages.lib.errors import RunError
from stages.lib.networks import units
from stages.lib.norms.table import norm_of
from stages.lib.training import loop

art = pytest.importorskip("art", reason="the Adversarial Robustness Toolbox, of the extra `autoattack`")
BY_CHANCE = 1e-4  # how often an attack as good as the toolbox's would fail here, on whatever processor
CASES = [("linf", 0.01), ("linf", 0.03), ("l2", 0.15), ("l2", 0.4)]
STEPS, RATIO = 20, 2.5


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
    network = units.build("small_resnet", 4, [0.5] * 3, [0.25] * 3)
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


def theirs(network: nn.Module, x: torch.Tensor, y: torch.Tensor, norm: str, eps: float, targeted: bool = False) -> torch.Tensor:
    from art.attacks.evasion import ProjectedGradientDescentPyTorch
    from art.estimators.classification import PyTorchClassifier

    classifier = PyTorchClassifier(network, nn.CrossEntropyLoss(), tuple(x.shape[1:]), 4, clip_values=(0.0, 1.0), device_type="cpu")
    attack = ProjectedGradientDescentPyTorch(classifier, norm=norm_of(norm).order, eps=eps, eps_step=RATIO * eps / STEPS, max_iter=STEPS,
                                             num_random_init=1, batch_size=len(x), targeted=targeted, verbose=False)  # fmt: skip
    return torch.from_numpy(attack.generate(x.numpy(), y.numpy()))


def by_chance(only_ours: int, only_theirs: int) -> float:
    """How likely ours succeeds alone on as few of these images, or fewer, if both attacks are equally good."""
    return stats.binom.cdf(only_ours, only_ours + only_theirs, 0.5)


def test_an_attack_that_is_worse_is_told_from_one_that_is_as_good():
    """Of 200 images PGD(5) misses 25 that PGD(20) finds; 4 against 3, as the toolbox and ours have them, is no difference."""
    assert by_chance(0, 25) < BY_CHANCE < by_chance(0, 13)
    assert by_chance(4, 3) > 0.5
    assert by_chance(0, 0) == 1


def test_pgd_finds_as_many_errors_as_the_toolbox(victim):
    """Over all radii, of which each alone would tell less."""
    network, x, y = victim
    torch.manual_seed(0)
    np.random.seed(0)  # of the toolbox
    only = {"ours": 0, "theirs": 0}
    for norm, eps in CASES:
        moved = pgd.make(norm=norm, eps=eps, steps=STEPS, step_ratio=RATIO, random_start=True)(network, x, y)
        ours, toolbox = (predicted(network, images) != y for images in (moved, theirs(network, x, y, norm, eps)))
        only["ours"] += int((ours & ~toolbox).sum())
        only["theirs"] += int((toolbox & ~ours).sum())
        assert ours.double().mean() > (predicted(network, x) != y).double().mean(), (norm, eps)
    assert by_chance(only["ours"], only["theirs"]) > BY_CHANCE, only


def test_a_targeted_attack_reaches_its_aim_as_often_as_the_toolbox(victim):
    network, x, y = victim
    aim = (y + 1) % 4
    torch.manual_seed(0)
    np.random.seed(0)
    moved = pgd.make(norm="linf", eps=0.03, steps=STEPS, step_ratio=RATIO, targeted=True, random_start=True)(network, x, aim)
    ours, toolbox = (predicted(network, images) == aim for images in (moved, theirs(network, x, aim, "linf", 0.03, targeted=True)))
    only = int((ours & ~toolbox).sum()), int((toolbox & ~ours).sum())
    assert by_chance(*only) > BY_CHANCE, only
    assert ours.double().mean() > (predicted(network, x) == aim).double().mean()


@pytest.mark.parametrize("victim", ["natural"], indirect=True)
@pytest.mark.parametrize(("norm", "classes"), [("l2", 2), ("linf", 3), ("linf", 4)])
def test_autoattack_takes_few_classes_and_leaves_no_more_than_pgd(victim, norm, classes):
    network, x, y = victim
    x, y = x[:24], y[:24]
    few = nn.Sequential(network, Few(classes)).eval()
    y = y % classes
    eps = 0.02 if norm == "linf" else 0.3
    moved = autoattack.make(norm=norm, eps=eps, queries=30, restarts=1)(few, x, y)
    delta = (moved - x).flatten(1)
    assert (delta.norm(dim=1) if norm == "l2" else delta.abs().amax(1)).max() <= eps + 1e-5
    assert moved.min() >= 0
    assert moved.max() <= 1
    assert accuracy(few, moved, y) <= accuracy(few, pgd.make(norm=norm, eps=eps, steps=STEPS, step_ratio=RATIO)(few, x, y), y) + 100 / 24


class Few(nn.Module):
    """Four logits folded into fewer."""

    def __init__(self, classes: int):
        super().__init__()
        self.classes = classes

    def forward(self, logits: torch.Tensor) -> torch.Tensor:
        return torch.stack([logits[:, i :: self.classes].logsumexp(1) for i in range(self.classes)], 1)


def test_without_the_toolbox_there_is_one_clear_line(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "art", None)
    with pytest.raises(RunError, match=r"AutoAttack is an extra: pip install .*autoattack"):
        autoattack.make(norm="l2", eps=0.5, queries=10, restarts=1)
