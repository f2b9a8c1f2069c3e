"""PGD, by what must hold of it whatever the model and the images, and against a loop over single images."""

import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from attacked import CASES, NORM, SEED, convolutional, images, lengths, linear
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from stages.lib.attacks import attack, pgd
from stages.lib.norms.table import NORMS

WHATEVER = {
    "norm": NORM,
    "eps": st.floats(1e-4, 1),
    "steps": st.integers(1, 4),
    "step_ratio": st.floats(1.01, 4),
    "random_start": st.booleans(),
    "seed": SEED,
}


@CASES
@given(**WHATEVER)
def test_the_perturbation_stays_in_the_ball_and_the_pixels_in_their_range(norm, eps, steps, step_ratio, random_start, seed):
    x, y = images(seed)
    torch.manual_seed(seed)
    perturb = pgd.make(norm=norm, eps=eps, steps=steps, step_ratio=step_ratio, random_start=random_start)
    adversarial = perturb(convolutional(seed), x, y)
    assert adversarial.shape == x.shape
    assert lengths(adversarial - x, norm).max() <= eps + 1e-6
    assert adversarial.min() >= 0
    assert adversarial.max() <= 1
    assert torch.isfinite(adversarial).all()


@CASES
@given(**WHATEVER, training=st.booleans())
def test_the_model_and_the_images_are_left_as_they_were(norm, eps, steps, step_ratio, random_start, seed, training):
    model = convolutional().train(training)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    x, y = images(seed)
    kept = x.clone()
    torch.manual_seed(seed)
    perturb = pgd.make(norm=norm, eps=eps, steps=steps, step_ratio=step_ratio, random_start=random_start)
    adversarial = perturb(model, x, y)
    assert all(module.training == training for module in model.modules())
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
    assert all(weight.grad is None and weight.requires_grad for weight in model.parameters())
    assert torch.equal(x, kept)
    assert not adversarial.requires_grad
    assert not x.requires_grad


def test_a_part_that_was_fixed_in_eval_mode_stays_so():
    model = convolutional().train()
    model[1].eval()
    x, y = images()
    pgd.make(norm="l2", eps=0.5, steps=1, step_ratio=2)(model, x, y)
    assert [module.training for module in model] == [True, False, True, True, True, True]


def test_gradients_that_were_there_stay_and_it_works_where_gradients_are_off():
    model = convolutional()
    x, y = images()
    nn.functional.cross_entropy(model(x), y).backward()
    before = [weight.grad.clone() for weight in model.parameters()]
    with torch.no_grad():
        adversarial = pgd.make(norm="linf", eps=0.1, steps=2, step_ratio=2)(model, x, y)
    assert not torch.equal(adversarial, x)
    assert all(torch.equal(old, weight.grad) for old, weight in zip(before, model.parameters(), strict=True))


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("random_start", [False, True])
def test_eps_0_leaves_the_images_as_they_are(norm, random_start):
    x, y = images()
    assert torch.equal(pgd.make(norm=norm, eps=0, steps=3, step_ratio=2, random_start=random_start)(convolutional(), x, y), x)


@CASES
@given(**WHATEVER)
def test_the_loss_of_a_linear_model_rises_for_every_image(norm, eps, steps, step_ratio, random_start, seed):
    """Its cross-entropy is convex in the image, so every ascent step from the image itself adds to it."""
    del random_start
    model, (x, y) = linear(seed), images(seed)
    adversarial = pgd.make(norm=norm, eps=eps, steps=steps, step_ratio=step_ratio)(model, x, y)
    loss = nn.CrossEntropyLoss(reduction="none")
    assert (loss(model(adversarial), y) >= loss(model(x), y)).all()
    assert loss(model(adversarial), y).sum() > loss(model(x), y).sum()


@pytest.mark.parametrize("norm", ["l2", "linf"])
def test_the_loss_rises_and_accuracy_does_not_with_eps(norm):
    model, (x, _) = convolutional(3).eval(), images(1, n=60)
    y = model(x).argmax(1)  # every image is right at eps 0
    losses, accuracies = [], []
    for eps in [0, 0.005, 0.02, 0.08] if norm == "linf" else [0, 0.05, 0.2, 0.8]:
        adversarial = pgd.make(norm=norm, eps=eps, steps=10, step_ratio=2.5)(model, x, y)
        with torch.no_grad():
            logits = model(adversarial)
        losses.append(nn.functional.cross_entropy(logits, y).item())
        accuracies.append((logits.argmax(1) == y).double().mean().item())
    assert all(a < b for a, b in pairwise(losses))
    assert accuracies == sorted(accuracies, reverse=True)
    assert accuracies[0] == 1
    assert accuracies[-1] < 0.5


def one_step_by_hand(image: np.ndarray, delta: np.ndarray, gradient: np.ndarray, norm: str, eps: float, alpha: float) -> np.ndarray:
    """Utrera et al. (2021), eqs. 3-5, for one image in float64."""
    flat, g = delta.ravel().copy(), gradient.ravel()
    if norm == "l2":
        flat += alpha * g / math.sqrt(sum(v * v for v in g))
        length = math.sqrt(sum(v * v for v in flat))
        flat = flat if length <= eps else flat * eps / length
    else:
        flat = np.array([min(eps, max(-eps, d + alpha * np.sign(v))) for d, v in zip(flat, g, strict=True)])
    return np.array([min(1.0, max(0.0, p + d)) for p, d in zip(image.ravel(), flat, strict=True)]).reshape(image.shape) - image


@pytest.mark.parametrize("norm", ["l2", "linf"])
@pytest.mark.parametrize(("eps", "steps", "step_ratio"), [(0.03, 1, 1.5), (0.1, 5, 2.5), (1.0, 3, 3.9)])
def test_pgd_is_the_loop_over_single_images(norm, eps, steps, step_ratio):
    model, (x, y) = convolutional().double().eval(), images()
    x = x.double()
    found = pgd.make(norm=norm, eps=eps, steps=steps, step_ratio=step_ratio)(model, x, y)
    for i, image in enumerate(x.numpy()):
        delta = np.zeros_like(image)
        for _ in range(steps):
            moved = torch.from_numpy(image + delta)[None].requires_grad_()
            nn.functional.cross_entropy(model(moved), y[i : i + 1]).backward()
            delta = one_step_by_hand(image, delta, moved.grad[0].numpy(), norm, eps, step_ratio * eps / steps)
        assert np.abs(found[i].numpy() - image - delta).max() < 1e-10


def test_random_starts_differ_and_come_from_torch_s_seed():
    model, (x, y) = convolutional(), images()
    perturb = pgd.make(norm="l2", eps=0.5, steps=1, step_ratio=2, random_start=True)
    torch.manual_seed(0)
    first, second = perturb(model, x, y), perturb(model, x, y)
    torch.manual_seed(0)
    assert torch.equal(perturb(model, x, y), first)
    assert not torch.equal(first, second)


def test_an_image_is_attacked_alike_in_every_batch():
    model, (x, y) = convolutional().double().eval(), images(n=6)
    perturb = pgd.make(norm="l2", eps=0.5, steps=3, step_ratio=2)
    whole = perturb(model, x.double(), y)
    assert torch.allclose(whole[2:3], perturb(model, x[2:3].double(), y[2:3]), atol=1e-12)


@CASES
@given(norm=WHATEVER["norm"], loss=st.sampled_from(list(attack.LOSSES)), seed=WHATEVER["seed"])
def test_a_targeted_attack_lowers_the_loss_of_its_aim(norm, loss, seed):
    """Of a linear model the cross-entropy falls with every short step; the margin is the highest of several planes."""
    model, (x, aim) = linear(seed), images(seed)
    measure = attack.LOSSES[loss]
    moved = pgd.make(norm=norm, eps=1e-3, steps=1, step_ratio=1.1, loss=loss, targeted=True)(model, x, aim)
    away = pgd.make(norm=norm, eps=1e-3, steps=1, step_ratio=1.1, loss=loss)(model, x, aim)
    assert (measure(model(moved), aim) < measure(model(x), aim)).all()
    assert (measure(model(away), aim) > measure(model(x), aim)).all()


@pytest.mark.parametrize("targeted", [False, True])
def test_of_several_starts_each_image_keeps_the_one_with_the_highest_loss(targeted):
    model, (x, y) = convolutional(2).eval(), images(n=8)
    how = {"norm": "linf", "eps": 0.05, "steps": 1, "step_ratio": 2, "random_start": True, "targeted": targeted}
    torch.manual_seed(0)
    found = pgd.make(**how, restarts=3)(model, x, y)
    torch.manual_seed(0)
    starts = [pgd.make(**how)(model, x, y) for _ in range(3)]
    losses = torch.stack([attack.cross_entropy(model(moved), y) for moved in starts]).detach()
    expected = losses.min(0) if targeted else losses.max(0)
    assert torch.equal(attack.cross_entropy(model(found), y).detach(), expected.values)
    assert len(set(expected.indices.tolist())) > 1, "no start is the best for all"


def test_pixels_stay_within_the_bounds_that_are_given():
    model, (x, y) = convolutional(), images()
    moved = pgd.make(norm="linf", eps=0.5, steps=2, step_ratio=2, bounds=(-1.0, 2.0))(model, x, y)
    assert moved.min() < 0
    assert moved.max() > 1
    assert pgd.make(norm="linf", eps=3.0, steps=2, step_ratio=4, bounds=(-1.0, 2.0))(model, x, y).abs().max() <= 2
    with pytest.raises(ValueError, match=r"images span \[0, 1\]; allowed: \[0.2, 0.8\]"):
        pgd.make(norm="linf", eps=0.5, steps=2, step_ratio=2, bounds=(0.2, 0.8))(model, x, y)


@pytest.mark.parametrize(("norm", "eps"), [("linf", 8.0), ("linf", 1.001), ("l2", 10.4)])
def test_a_ball_that_is_wider_than_the_pixels_allow_is_refused(norm, eps):
    x, y = images()  # of 108 values: no two are further apart than 10.39
    with pytest.raises(ValueError, match=rf"eps is {eps:g}; allowed: up to (1|10.39), .* \(3, 6, 6\)"):
        pgd.make(norm=norm, eps=eps, steps=1, step_ratio=2)(convolutional(), x, y)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"loss": "hinge"}, ["'hinge'", "allowed: cross_entropy, margin"]),
        ({"restarts": 0, "random_start": True}, ["restarts is 0", "allowed: an integer from 1"]),
        ({"restarts": 2}, ["restarts is 2", "allowed: 1, as every start is the same"]),
        ({"norm": "l7"}, ["'l7'", f"allowed: {', '.join(NORMS)}"]),
        ({"norm": None}, ["None", f"allowed: {', '.join(NORMS)}"]),
        ({"eps": -0.1}, ["-0.1", "allowed: a number from 0"]),
        ({"eps": math.nan}, ["nan", "allowed: a number from 0"]),
        ({"eps": math.inf}, ["inf", "allowed: a number from 0"]),
        ({"steps": 0}, ["steps is 0", "allowed: an integer from 1"]),
        ({"steps": -1}, ["steps is -1", "allowed: an integer from 1"]),
    ],
)
def test_settings_that_are_no_attack_are_refused(changes, words):
    with pytest.raises(ValueError, match="allowed") as error:
        pgd.make(**({"norm": "l2", "eps": 0.5, "steps": 3, "step_ratio": 2} | changes))
    assert [word for word in words if word not in str(error.value)] == []


@pytest.mark.parametrize("eps", [0, 0.5])
@pytest.mark.parametrize(("value", "found"), [(-0.25, r"\[-0\.25, "), (1.5, r", 1\.5\]"), (255.0, ", 255"), (math.nan, "nan")])
def test_images_outside_their_range_are_refused(eps, value, found):
    x, y = images()
    x[1, 0, 0, 0] = value
    with pytest.raises(ValueError, match=f"{found}.*allowed: \\[0, 1\\]"):
        pgd.make(norm="l2", eps=eps, steps=1, step_ratio=2)(convolutional(), x, y)
