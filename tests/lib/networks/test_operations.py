"""Multiply-adds of networks, beside published figures and a count by hand."""

import math

import pytest
import torch
from torch import nn

from stages.lib.networks import units
from stages.lib.networks.layers import operations


def by_hand(network: nn.Module, size: int) -> int:
    """From the shapes that layers give: each output of a convolution or a linear layer takes as many as it has weights."""
    counted = []

    def count(module, inputs, output):
        counted.append(math.prod(output.shape[1:]) * math.prod(module.weight.shape[1:]))

    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            module.register_forward_hook(count)
    with torch.no_grad():
        network.eval()(torch.zeros(1, 3, size, size))
    return sum(counted)


def test_a_resnet50_takes_as_many_as_is_published_and_its_parts_add_up():
    """4.09 billion at 224 pixels with 1,000 classes, as torchvision lists them for its weights."""
    parts = {blocks: operations.of_parts("resnet50", blocks, 224, 1000) for blocks in (0, 3, 9, "all")}
    assert {sum(both) for both in parts.values()} == {parts["all"][1]}
    assert parts["all"][1] == pytest.approx(4.09e9, rel=0.002)
    assert parts["all"][0] == 0
    assert parts[0][1] == 2048 * 1000
    head, convolution = 2048 * 1000, 14 * 14 * 1024 * 512  # the first of layer 4, which starts three blocks before the head
    assert parts[3][1] > head + convolution
    assert parts[9][1] > parts[3][1]


@pytest.mark.parametrize("architecture", ["small_resnet", "resnext50_32x4d"])
def test_each_layer_is_counted(architecture):
    network = units.build(architecture, 10, [0.5] * 3, [0.25] * 3)
    assert sum(operations.of_parts(architecture, 1, 32)) == by_hand(network, 32)
