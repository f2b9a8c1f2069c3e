"""The fast gradient sign method is one step."""

import pytest
import torch
from attacked import convolutional, images

from stages.lib.attacks import attack, fgsm


@pytest.mark.parametrize("norm", ["l2", "linf"])
def test_fgsm_is_one_step_over_the_whole_radius(norm):
    model, (x, y) = convolutional().double().eval(), images()
    x = x.double()
    found = fgsm.make(norm=norm, eps=0.1)(model, x, y)
    gradient = attack.loss_gradient(model, x, y)
    step = torch.sign(gradient) if norm == "linf" else gradient / gradient.flatten(1).norm(dim=1).view(-1, 1, 1, 1)
    assert torch.allclose(found, (x + 0.1 * step).clamp(0, 1), atol=1e-12)
