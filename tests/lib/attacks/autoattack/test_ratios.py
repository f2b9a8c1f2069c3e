"""The difference of logits ratio, of single images by hand, and with few classes."""

import pytest
import torch

from stages.lib.attacks.attack import margin
from stages.lib.attacks.autoattack import ratios

LOGITS, Y, TARGET = torch.tensor([[4.0, 1.0, 3.0, -2.0, 0.5]]), torch.tensor([0]), torch.tensor([3])


def test_the_ratios_are_those_of_the_paper():
    assert ratios.ratio(LOGITS, Y).item() == pytest.approx(-(4 - 3) / (4 - 1))
    assert ratios.targeted_ratio(LOGITS, Y, TARGET).item() == pytest.approx(-(4 - -2) / (4 - (1 + 0.5) / 2))
    assert ratios.ratio(LOGITS, torch.tensor([2])).item() == pytest.approx((4 - 3) / (4 - 1)), "above zero where the label is wrong"


def test_the_scale_of_the_logits_makes_no_difference():
    assert torch.allclose(ratios.ratio(1e3 * LOGITS, Y), ratios.ratio(LOGITS, Y))
    assert torch.allclose(ratios.targeted_ratio(1e3 * LOGITS, Y, TARGET), ratios.targeted_ratio(LOGITS, Y, TARGET))


def test_of_three_classes_the_third_is_the_denominator_and_of_two_there_is_none():
    assert ratios.targeted_ratio(LOGITS[:, :3], Y, torch.tensor([1])).item() == pytest.approx(-(4 - 1) / (4 - 1))
    two = LOGITS[:, :2].clone().requires_grad_()
    for value in (ratios.ratio(two, Y), ratios.targeted_ratio(two, Y, torch.tensor([1]))):
        assert torch.equal(value, margin(two, Y))
        assert torch.autograd.grad(value.sum(), two)[0].abs().sum() > 0


def test_targets_are_the_classes_with_the_highest_logits_but_the_label():
    def model(x):
        return LOGITS.expand(len(x), -1)

    x, y = torch.zeros(2, 3, 2, 2), torch.tensor([0, 2])
    assert [ratios.ranked_target(model, x, y, rank).tolist() for rank in range(4)] == [[2, 0], [1, 1], [4, 4], [3, 3]]
    assert (ratios.targets_at_hand(model, x, 9), ratios.targets_at_hand(model, x, 2)) == (4, 2)
