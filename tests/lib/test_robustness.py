"""Accuracy under attack: against the exact worst case of a linear model, and against an attack on each image by itself."""

import dataclasses

import numpy as np
import pytest
import torch
from torch import nn

from stages.lib import attacks, networks, robustness

ATTACK = {"steps": 20, "step_ratio": 2.5, "seed": 0}
RADII = {"l2": [0.3, 0.6, 1.0, 2.0], "linf": [0.01, 0.02, 0.04, 0.1]}


def two_classes() -> tuple[nn.Sequential, np.ndarray]:
    """A linear model whose logits are 0 and w * x + b, and w, [192]."""
    torch.manual_seed(0)
    layer = nn.Linear(192, 2).double()
    with torch.no_grad():
        layer.weight[0] = 0
        layer.bias[0] = 0
        layer.weight[1].normal_(0, 0.1)
        layer.bias[1] = -0.5 * layer.weight[1].sum()
    return nn.Sequential(nn.Flatten(), layer).float(), layer.weight[1].detach().numpy()


def grey_images(n: int) -> np.ndarray:
    """Pixels far from 0 and 1, so that clipping does not matter: uint8 [n, 8, 8, 3]."""
    return np.random.default_rng(0).integers(100, 156, (n, 8, 8, 3), np.uint8)


def predicted(model: nn.Module, x: np.ndarray) -> np.ndarray:
    with torch.no_grad():
        return model.eval()(torch.from_numpy(x).permute(0, 3, 1, 2) / 255).argmax(1).numpy()


@pytest.mark.parametrize(("norm", "dual"), [("l2", 2), ("linf", 1)])
def test_accuracy_is_exact_for_a_linear_model(norm, dual):
    """The nearest wrongly labelled point is at |w * x + b| / |w|, in the dual norm of the ball's."""
    model, w = two_classes()
    x = grey_images(200)
    y = predicted(model, x)
    y[::7] = 1 - y[::7]  # wrong from the start
    logits = (x.transpose(0, 3, 1, 2).reshape(200, -1) / 255 - 0.5) @ w
    distance = np.where((logits > 0) == y, np.abs(logits), 0) / np.linalg.norm(w, dual)
    middle = np.sort(distance)[60:160]
    radii = [float(middle[i : i + 2].mean()) for i in np.sort(np.argsort(np.diff(middle))[-3:])]  # where no image is near
    found = list(robustness.accuracy_against_eps(model, x, y, norm=norm, radii=radii, steps=60, step_ratio=20, seed=0))
    assert [row.eps for row in found] == [0.0, *radii]
    assert [row.accuracy for row in found] == [100 * (distance > eps).mean() for eps in (0.0, *radii)]
    assert len({row.accuracy for row in found}) == 4


def small_network() -> tuple[nn.Sequential, np.ndarray, np.ndarray]:
    torch.manual_seed(1)
    network = networks.build("small_resnet", 4, [0.5] * 3, [0.25] * 3).eval()
    x = np.random.default_rng(1).integers(0, 256, (24, 16, 16, 3), np.uint8)
    y = predicted(network, x)
    y[:3] = (y[:3] + 1) % 4
    return network, x, y


@pytest.mark.parametrize("norm", attacks.NORMS)
@pytest.mark.parametrize("batch", [5, 128])
def test_accuracy_is_that_of_an_attack_on_each_image_at_each_radius(monkeypatch, norm, batch):
    network, x, y = small_network()
    centred = dataclasses.replace(attacks.NORMS[norm], start=lambda like, eps: torch.zeros_like(like))
    monkeypatch.setitem(attacks.NORMS, norm, centred)  # a random start would depend on the batch
    monkeypatch.setattr(robustness, "BATCH", batch)
    found = list(robustness.accuracy_against_eps(network, x, y, norm=norm, radii=RADII[norm], steps=3, step_ratio=2.5, seed=0))
    standing = predicted(network, x) == y
    expected = [100 * standing.mean()]
    for eps in RADII[norm]:
        perturb = attacks.pgd(norm=norm, eps=eps, steps=3, step_ratio=2.5)
        for i in range(len(x)):
            image, label = torch.from_numpy(x[i : i + 1]).permute(0, 3, 1, 2) / 255, torch.from_numpy(y[i : i + 1])
            with torch.no_grad():
                standing[i] &= bool(network(perturb(network, image, label)).argmax(1) == label)
        expected.append(100 * standing.mean())
    assert [row.accuracy for row in found] == pytest.approx(expected)
    assert len(set(expected)) > 2


@pytest.mark.parametrize("norm", attacks.NORMS)
def test_accuracy_does_not_rise_with_eps_in_whatever_order_the_radii_come(norm):
    network, x, y = small_network()
    settings = {"norm": norm, "steps": 2, "step_ratio": 2.5, "seed": 0}
    found = list(robustness.accuracy_against_eps(network, x, y, radii=RADII[norm], **settings))
    accuracies = [row.accuracy for row in found]
    assert accuracies == sorted(accuracies, reverse=True)
    assert accuracies[0] == pytest.approx(100 * 21 / 24)
    assert accuracies[-1] < accuracies[0]
    mixed = [*RADII[norm][::-1], 0.0, RADII[norm][0]]
    assert list(robustness.accuracy_against_eps(network, x, y, radii=mixed, **settings)) == found
    assert {(row.norm, row.n_test) for row in found} == {(norm, 24)}


def test_the_numbers_come_from_the_seed_alone():
    network, x, y = small_network()
    torch.manual_seed(5)
    first = list(robustness.accuracy_against_eps(network.train(), x, y, norm="l2", radii=RADII["l2"], steps=1, step_ratio=1.1, seed=0))
    torch.manual_seed(6)
    again = list(robustness.accuracy_against_eps(network.eval(), x, y, norm="l2", radii=RADII["l2"], steps=1, step_ratio=1.1, seed=0))
    assert first == again


def test_when_no_image_stands_the_rest_is_0_and_every_radius_ticks():
    network, x, _ = small_network()
    ticks = []
    found = robustness.accuracy_against_eps(
        network,
        x,
        (predicted(network, x) + 1) % 4,
        norm="linf",
        radii=[0.1, 0.2],
        steps=1,
        step_ratio=2,
        seed=0,
        tick=lambda: ticks.append(1),
    )
    assert [row.accuracy for row in found] == [0.0, 0.0, 0.0]
    assert len(ticks) == 2


def test_without_radii_there_is_the_accuracy_on_images_as_they_are():
    network, x, y = small_network()
    found = list(robustness.accuracy_against_eps(network, x, y, norm="l2", radii=[], **ATTACK))
    assert found == [robustness.UnderAttack("l2", 0.0, 100 * 21 / 24, 24)]


@pytest.mark.parametrize(("norm", "eps"), [("l2", 0.4), ("linf", 8 / 255)])
def test_examples_show_the_images_the_perturbed_ones_and_both_predictions(norm, eps):
    network, x, y = small_network()
    shown = robustness.examples(network.train(), x, y, norm=norm, eps=eps, steps=3, step_ratio=2.5, seed=0)
    assert np.allclose(shown.clean, x / 255, atol=1e-6)
    assert shown.adversarial.shape == x.shape
    delta = (shown.adversarial - shown.clean).reshape(len(x), -1)
    assert np.linalg.norm(delta, 2 if norm == "l2" else np.inf, axis=1).max() <= eps + 1e-5
    assert shown.adversarial.min() >= 0
    assert shown.adversarial.max() <= 1
    assert np.array_equal(shown.predicted_clean, predicted(network, x))
    with torch.no_grad():
        after = network(torch.from_numpy(shown.adversarial).permute(0, 3, 1, 2)).argmax(1).numpy()
    assert np.array_equal(shown.predicted_adversarial, after)
    assert (shown.predicted_adversarial != y).mean() > (shown.predicted_clean != y).mean()
    assert (shown.eps, shown.label.tolist()) == (eps, y.tolist())
