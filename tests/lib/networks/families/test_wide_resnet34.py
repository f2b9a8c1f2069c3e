"""Wide residual networks 34-k: their pieces, their weights and their blocks are the published ones."""

import torch

from stages.lib.networks import units
from stages.lib.networks.layers.wide_resnet34 import PreactBlock

MEAN, STD = [0.4, 0.5, 0.6], [0.2, 0.25, 0.3]


@torch.no_grad()
def test_a_wide_resnet_34_10_has_17_pieces_and_as_many_weights_as_published():
    with torch.device("meta"):
        network = units.build("wide_resnet34_10", 10, MEAN, STD)
    assert sum(weight.numel() for weight in network.parameters()) == 46_160_474  # as published for this network
    assert len(units.pieces(network)) == 17
    assert units.pieces(network)[1] == ["pool"], "the last batch norm is a piece by itself"
    assert units.last_pieces(network, 2) == ["head", "pool"]
    assert set(units.last_pieces(network, "all")) == {name for name, _ in network.named_children()} - {"normalise"}


def test_a_block_of_a_wide_resnet_normalises_before_it_convolves():
    torch.manual_seed(0)
    block = PreactBlock(4, 6, stride=2).double().eval()
    x = torch.rand(2, 4, 8, 8, dtype=torch.float64)
    active = torch.relu(block.bn1(x))
    expected = block.conv2(torch.relu(block.bn2(block.conv1(active)))) + block.shortcut(active)
    assert torch.allclose(block(x.clone()), expected)
    same = PreactBlock(4, 4, stride=1).double().eval()
    out = same.conv2(torch.relu(same.bn2(same.conv1(torch.relu(same.bn1(x))))))
    assert torch.allclose(same(x.clone()), x + out)
