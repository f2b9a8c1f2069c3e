"""Networks of other widths are the small residual network with more or fewer channels, and nothing else."""

import pytest
import torch

from stages.lib.networks import units
from stages.lib.networks.architectures import BLOCKS
from stages.lib.networks.layers.small_resnet import SmallResNet
from stages.lib.networks.layers.small_resnet_widths import SmallResNetOfWidth


def test_with_sixteen_channels_it_is_the_small_network_to_the_last_bit():
    torch.manual_seed(0)
    ours = SmallResNetOfWidth(5, 16)
    torch.manual_seed(0)
    theirs = SmallResNet(5)
    assert [name for name, _ in ours.named_modules()] == [name for name, _ in theirs.named_modules()]
    assert all(torch.equal(ours.state_dict()[name], weight) for name, weight in theirs.state_dict().items())


@torch.no_grad()
@pytest.mark.parametrize(("name", "width"), [("small_resnet_x0_5", 8), ("small_resnet_x2", 32)])
def test_a_width_has_so_many_channels_in_each_stage(name, width):
    network = units.build(name, 5, [0.5] * 3, [0.25] * 3).eval()
    x = torch.rand(2, 3, 32, 32)
    shapes = {}
    for unit_name, unit in network.named_children():
        x = unit(x)
        shapes[unit_name] = tuple(x.shape[1:])
    assert [shapes[f"layer{i}_2"] for i in (1, 2, 3)] == [(width, 16, 16), (2 * width, 8, 8), (4 * width, 4, 4)]
    assert (shapes["pool"], shapes["head"]) == ((4 * width,), (5,))
    assert BLOCKS[name] == sum(unit_name.startswith("layer") for unit_name in shapes)
