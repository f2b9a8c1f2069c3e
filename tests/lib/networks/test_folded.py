"""A network whose batch norms are folded computes what it computed, and what cannot be folded stays."""

import copy

import pytest
import torch
from torch import nn

from stages.lib.networks import units
from stages.lib.networks.layers.folded import folded

LEFT = {  # batch norms that stand before a convolution, or after two tensors were joined
    "wide_resnet34_1": 16,
    "madry_wide_resnet32_1": 16,
    "densenet161": 82,
}
ARCHITECTURES = ("small_resnet", "resnet50", "mobilenet_v2", "mnasnet1_0", "shufflenet_v2_x1_0", *LEFT)


def norms(network: nn.Module) -> list[nn.Module]:
    return [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]


def network_of(architecture: str) -> nn.Sequential:
    """In train mode and float64, with statistics and weights of batch norms that are not those of the start."""
    torch.manual_seed(0)
    network = units.build(architecture, 4, [0.5] * 3, [0.25] * 3).double()
    for norm in norms(network):
        for tensor in (norm.running_mean, norm.bias.data):
            tensor.normal_(0, 0.1)
        for tensor in (norm.running_var, norm.weight.data):
            tensor.uniform_(0.5, 1.5)
    return network


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_outputs_and_gradients_of_images_are_the_same(architecture):
    network = network_of(architecture)
    kept, fast = copy.deepcopy(network.state_dict()), folded(network)
    assert network.training
    assert all(torch.equal(tensor, kept[name]) for name, tensor in network.state_dict().items())
    assert len(norms(fast)) == LEFT.get(architecture, 0) < len(norms(network))
    found = []
    for model in (network.eval(), fast):
        x = torch.rand(2, 3, 32, 32, dtype=torch.float64, generator=torch.Generator().manual_seed(1)).requires_grad_()
        logits = model(x)
        found.append((logits, torch.autograd.grad(logits.square().sum(), x)[0]))
    for plain, quick in zip(*found, strict=True):
        assert plain.abs().max() > 0
        torch.testing.assert_close(quick, plain, rtol=1e-9, atol=1e-9 * float(plain.detach().abs().max()))


def test_what_a_folded_network_computes_does_not_follow_the_network():
    network = network_of("small_resnet")
    fast, x = folded(network), torch.rand(2, 3, 32, 32, dtype=torch.float64)
    before = fast(x)
    with torch.no_grad():
        network.stem.conv1.weight.mul_(2)
    assert torch.equal(fast(x), before)


def test_a_batch_norm_without_statistics_of_its_own_stays():
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4, track_running_stats=False), nn.ReLU(), nn.BatchNorm2d(4))
    fast, x = folded(network), torch.rand(2, 3, 8, 8)
    assert len(norms(fast)) == 2
    assert torch.equal(fast(x), network.eval()(x))
