"""What attacks share: losses and their gradients."""

import math

import numpy as np
import pytest
import torch
from attacked import CASES, SEED, convolutional, images, linear
from hypothesis import given

from stages.lib.attacks import attack


def test_the_gradient_of_an_image_does_not_depend_on_its_batch():
    model, (x, y) = convolutional().double().eval(), images(n=6)
    whole = attack.loss_gradient(model, x.double(), y)
    for i in range(6):
        assert torch.allclose(whole[i : i + 1], attack.loss_gradient(model, x[i : i + 1].double(), y[i : i + 1]), atol=1e-12)


@CASES
@given(seed=SEED)
def test_the_losses_are_those_of_single_images(seed):
    logits, (_, y) = torch.randn(4, 5, generator=torch.Generator().manual_seed(seed), dtype=torch.float64), images(seed)
    for row, label, entropy, margin in zip(
        logits.tolist(), y.tolist(), attack.cross_entropy(logits, y), attack.margin(logits, y), strict=True
    ):
        others = [value for i, value in enumerate(row) if i != label]
        assert margin.item() == pytest.approx(max(others) - row[label])
        assert entropy.item() == pytest.approx(math.log(sum(math.exp(value - row[label]) for value in row)))
        assert (margin.item() > 0) == (np.argmax(row) != label)


def test_the_margin_has_a_gradient_where_the_softmax_is_saturated():
    model, (x, _) = linear(), images()
    with torch.no_grad():
        model[1].weight.mul_(1e3)
    y = model(x).argmax(1)
    assert attack.loss_gradient(model, x, y).abs().max() == 0
    assert (attack.loss_gradient(model, x, y, attack.margin).flatten(1).abs().amax(1) > 1).all()
