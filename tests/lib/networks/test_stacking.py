"""Networks that were stacked compute and learn what they do one by one, and what cannot be stacked is refused."""

import copy
from functools import lru_cache

import pytest
import torch
from torch import nn

from stages.lib.networks import stacking, units

N = 2


@lru_cache(N + 1)
def network_of(architecture: str, seed: int) -> nn.Sequential:
    torch.manual_seed(seed)
    return units.build(architecture, 4, [0.5] * 3, [0.25] * 3)


def parts_of(architecture: str, blocks: int) -> list[nn.Module]:
    return [copy.deepcopy(units.split(network_of(architecture, seed), blocks)[1]).double() for seed in range(N)]


def inputs_of(architecture: str, blocks: int, batch: int = 6) -> list[torch.Tensor]:
    frozen = copy.deepcopy(units.split(network_of(architecture, 9), blocks)[0]).double().eval()
    torch.manual_seed(9)
    with torch.no_grad():
        return [frozen(torch.rand(batch, 3, 32, 32, dtype=torch.float64)) for _ in range(N)]


@pytest.mark.parametrize(
    ("architecture", "blocks", "channels_last"),
    [
        ("small_resnet", 0, False),
        ("small_resnet", 1, False),
        ("small_resnet", 4, False),
        ("small_resnet", 4, True),
        ("resnet18", 1, False),
        ("resnet50", 2, False),
        ("resnet50", 2, True),
        ("resnext50_32x4d", 1, False),
    ],
)
def test_a_stack_trains_each_network_as_it_would_be_trained_alone(architecture, blocks, channels_last):
    together, alone = parts_of(architecture, blocks), parts_of(architecture, blocks)
    if channels_last:
        together = [part.to(memory_format=torch.channels_last) for part in together]
    x = inputs_of(architecture, blocks)
    stacked = stacking.stack(together).train()
    for part in alone:
        part.train()
    optimisers = [torch.optim.SGD(network.parameters(), lr=0.1, momentum=0.9) for network in (stacked, *alone)]
    labels = torch.arange(6) % 4
    for _ in range(2):
        logits = stacked(torch.cat(x, 1)).unflatten(1, (N, 4)).unbind(1)
        losses = [nn.functional.cross_entropy(part, labels) for part in logits]
        expected = [nn.functional.cross_entropy(part(own), labels) for part, own in zip(alone, x, strict=True)]
        assert torch.allclose(torch.stack(losses), torch.stack(expected), rtol=1e-9)
        for optimiser, loss in zip(optimisers, (sum(losses), *expected), strict=True):
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
    for part, own in zip(together, alone, strict=True):
        found, wanted = part.state_dict(), own.state_dict()
        assert found.keys() == wanted.keys()
        assert all(torch.allclose(found[name], wanted[name], rtol=1e-6, atol=1e-9) for name in wanted)
        assert torch.allclose(part.eval()(x[0]), own.eval()(x[0]), rtol=1e-6)


def test_a_network_by_itself_is_its_own_stack():
    [part, *_] = parts_of("small_resnet", 1)
    assert stacking.stack([part]) is part


@pytest.mark.parametrize(("architecture", "blocks"), [("densenet161", 1), ("shufflenet_v2_x1_0", 2), ("mobilenet_v2", 0)])
def test_what_rearranges_channels_or_draws_random_numbers_is_refused(architecture, blocks):
    parts = parts_of(architecture, blocks)
    before = copy.deepcopy(parts[0].state_dict())
    with pytest.raises(TypeError, match="cannot be stacked"):
        stacking.stack(parts)
    assert all(torch.equal(tensor, before[name]) for name, tensor in parts[0].state_dict().items())
