"""The small residual network is the one that its docstring says."""

import torch

from stages.lib.networks import units


@torch.no_grad()
def test_the_small_network_is_resnet_20_with_a_faster_stem():
    network = units.build("small_resnet", 5, [0.5] * 3, [0.25] * 3).eval()
    x = torch.rand(2, 3, 32, 32)
    shapes = {}
    for name, unit in network.named_children():
        x = unit(x)
        shapes[name] = tuple(x.shape[1:])
    assert shapes["stem"] == (16, 16, 16)
    assert [shapes[f"layer{i}_2"] for i in (1, 2, 3)] == [(16, 16, 16), (32, 8, 8), (64, 4, 4)]
    assert (shapes["pool"], shapes["head"]) == ((64,), (5,))
    assert 0.26e6 < sum(weight.numel() for weight in network.parameters()) < 0.28e6
