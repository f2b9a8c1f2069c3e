"""The residual network that only the `robustness` library names."""

import torch

from stages.lib.networks.families import resnet


def test_a_wide_resnet50_4_is_a_resnet50_four_times_as_wide_inside_its_blocks():
    with torch.device("meta"):
        network = resnet.published("wide_resnet50_4", 1000)
    assert network.layer1[0].conv2.weight.shape == (256, 256, 3, 3)
    assert network.layer4[2].conv3.weight.shape == (2048, 2048, 1, 1)
