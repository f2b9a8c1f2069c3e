"""Accuracy under attack: against the exact worst case of a linear model, and against an attack on each image by itself."""

import dataclasses
from functools import partial
from importlib import import_module

import numpy as np
import pytest
import torch
from torch import nn

from stages.lib.attacks import evaluation, pgd
from stages.lib.datasets import pixels
from stages.lib.networks import units
from stages.lib.norms.table import NORMS, norm_of

PGD20 = {"kind": "pgd", "steps": 20, "step_ratio": 2.5, "target": None}
RADII = {"l2": [0.3, 0.6, 1.0, 2.0], "linf": [0.01, 0.02, 0.04, 0.1]}


def accuracies(network, x, y, *, norm: str, radii: list[float], attack: dict | None = None, seed: int = 0, **how) -> dict[float, float]:
    """Percent at each radius, under PGD from a random start unless `attack` says another."""
    attack = attack or {"kind": "pgd", "random_start": True, "target": None} | how
    at, aim = partial(evaluation.perturbation, attack, norm), evaluation.aim_of(attack)
    standing = evaluation.standing_against_eps(network, x, y, at=at, radii=radii, seed=seed, aim=aim)
    return {eps: 100 * stood.mean() for eps, stood in standing}


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
    found = accuracies(model, x, y, norm=norm, radii=radii, steps=60, step_ratio=20)
    assert found == {eps: 100 * (distance > eps).mean() for eps in (0.0, *radii)}
    assert len(set(found.values())) == 4


def small_network() -> tuple[nn.Sequential, np.ndarray, np.ndarray]:
    torch.manual_seed(1)
    network = units.build("small_resnet", 4, [0.5] * 3, [0.25] * 3).eval()
    x = np.random.default_rng(1).integers(0, 256, (24, 16, 16, 3), np.uint8)
    y = predicted(network, x)
    y[:3] = (y[:3] + 1) % 4
    return network, x, y


@pytest.mark.parametrize("norm", RADII)
@pytest.mark.parametrize("batch", [5, 128])
def test_accuracy_is_that_of_an_attack_on_each_image_at_each_radius(monkeypatch, norm, batch):
    network, x, y = small_network()
    centred = dataclasses.replace(norm_of(norm), start=lambda like, eps: torch.zeros_like(like))
    monkeypatch.setattr(import_module(NORMS[norm]), "NORM", centred)  # a random start would depend on the batch
    monkeypatch.setattr(evaluation, "BATCH", batch)
    found = accuracies(network, x, y, norm=norm, radii=RADII[norm], steps=3, step_ratio=2.5)
    standing = predicted(network, x) == y
    expected = [100 * standing.mean()]
    for eps in RADII[norm]:
        perturb = pgd.make(norm=norm, eps=eps, steps=3, step_ratio=2.5)
        for i in range(len(x)):
            image, label = torch.from_numpy(x[i : i + 1]).permute(0, 3, 1, 2) / 255, torch.from_numpy(y[i : i + 1])
            with torch.no_grad():
                standing[i] &= bool(network(perturb(network, image, label)).argmax(1) == label)
        expected.append(100 * standing.mean())
    assert list(found.values()) == pytest.approx(expected)
    assert len(set(expected)) > 2


@pytest.mark.parametrize("norm", RADII)
def test_accuracy_does_not_rise_with_eps_in_whatever_order_the_radii_come(norm):
    network, x, y = small_network()
    settings = {"norm": norm, "steps": 2, "step_ratio": 2.5}
    found = accuracies(network, x, y, radii=RADII[norm], **settings)
    assert list(found) == [0.0, *RADII[norm]]
    assert list(found.values()) == sorted(found.values(), reverse=True)
    assert found[0.0] == pytest.approx(100 * 21 / 24)
    assert found[RADII[norm][-1]] < found[0.0]
    assert accuracies(network, x, y, radii=[*RADII[norm][::-1], 0.0, RADII[norm][0]], **settings) == found


@pytest.mark.parametrize("norm", RADII)
def test_from_the_largest_radius_an_image_stands_where_it_withstands_the_attack_of_this_radius_or_of_a_larger_one(norm):
    network, x, y = small_network()
    right, asked = predicted(network, x) == y, []

    def at(eps):
        perturb = evaluation.perturbation({"kind": "fgsm", "from_largest": True}, norm, eps)
        return lambda model, images, labels: asked.append(len(images)) or perturb(model, images, labels)

    radii = RADII[norm]
    found = dict(evaluation.standing_against_eps(network, x, y, at=at, radii=radii, seed=0, from_largest=True))
    sent = list(asked)
    withstands = [evaluation.withstood(network, x, y, right, see=pixels.prepare, perturb=at(eps)) for eps in radii]
    assert list(found) == [0.0, *radii]
    assert np.array_equal(found[0.0], right)
    for place, eps in enumerate(radii):
        assert np.array_equal(found[eps], np.logical_or.reduce(withstands[place:]))
    counts = [int(found[eps].sum()) for eps in radii]
    assert sent == [int(right.sum()) - above for above in (0, *counts[:0:-1])], "what stands is not attacked again"
    assert len(set(counts)) > 2


def test_the_numbers_come_from_the_seed_alone():
    network, x, y = small_network()
    torch.manual_seed(5)
    first = accuracies(network.train(), x, y, norm="l2", radii=RADII["l2"], steps=1, step_ratio=1.1)
    torch.manual_seed(6)
    assert accuracies(network.eval(), x, y, norm="l2", radii=RADII["l2"], steps=1, step_ratio=1.1) == first


def test_when_no_image_stands_the_rest_is_0():
    network, x, _ = small_network()
    wrong = (predicted(network, x) + 1) % 4
    assert accuracies(network, x, wrong, norm="linf", radii=[0.1, 0.2], steps=1, step_ratio=2) == {0.0: 0.0, 0.1: 0.0, 0.2: 0.0}


def test_without_radii_there_is_the_accuracy_on_images_as_they_are():
    network, x, y = small_network()
    assert accuracies(network, x, y, norm="l2", radii=[], attack=PGD20) == {0.0: 100 * 21 / 24}


@pytest.mark.parametrize(("target", "aim"), [("least_likely", "the lowest logit"), ("random", "any")])
def test_a_targeted_attack_leads_to_another_class(target, aim):
    network, x, y = small_network()
    logits = network(torch.from_numpy(x).permute(0, 3, 1, 2) / 255).detach()
    torch.manual_seed(0)
    aims = evaluation.AIMS[target](logits, torch.from_numpy(y))
    assert (aims != torch.from_numpy(y)).all()
    others = logits.clone().scatter_(1, torch.from_numpy(y)[:, None], torch.inf)
    assert torch.equal(aims, others.argmin(1)) == (aim == "the lowest logit")
    assert set(aims.tolist()) == set(range(4)) or target == "least_likely"
    targeted = accuracies(network, x, y, norm="linf", radii=[0.05], attack=PGD20 | {"target": target})
    untargeted = accuracies(network, x, y, norm="linf", radii=[0.05], attack=PGD20)
    assert untargeted[0.05] <= targeted[0.05] < targeted[0.0]


@pytest.mark.parametrize(
    ("attack", "norm", "eps"),
    [
        ({"kind": "fgsm"}, "l2", 1.0),
        ({"kind": "fgsm"}, "linf", 0.1),
        ({"kind": "pgd", "loss": "margin", "steps": 5, "step_ratio": 2.5, "restarts": 2, "random_start": True, "target": None}, "l2", 1.0),
        ({"kind": "random_search", "queries": 60}, "linf", 0.3),
        ({"kind": "apgd", "steps": 5}, "linf", 0.1),
        ({"kind": "apgd_targeted", "steps": 5, "targets": 9}, "l2", 1.0),
        ({"kind": "fab_targeted", "steps": 10, "targets": 2}, "linf", 0.1),
        ({"kind": "square", "queries": 100}, "linf", 0.3),
        ({"kind": "autoattack", "steps": 2, "queries": 20}, "l2", 1.0),
        ({"kind": "apgd_pgd", "steps": 2, "from_largest": True}, "l2", 1.0),
    ],
)
def test_every_kind_of_attack_finds_errors(attack, norm, eps):
    network, x, y = small_network()
    found = accuracies(network, x, y, norm=norm, radii=[eps], attack=attack)
    assert found[eps] < found[0.0]


@pytest.mark.parametrize(("norm", "eps"), [("l2", 0.4), ("linf", 8 / 255)])
def test_examples_show_the_images_the_perturbed_ones_and_both_predictions(norm, eps):
    network, x, y = small_network()
    perturb = pgd.make(norm=norm, eps=eps, steps=3, step_ratio=2.5)
    shown = evaluation.examples(network.train(), x, y, perturb=perturb, eps=eps, seed=0)
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
