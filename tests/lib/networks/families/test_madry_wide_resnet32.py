"""The wide residual network of Madry et al.: its pieces and weights, and its layers against numpy, as their code's TensorFlow defines them."""

import numpy as np
import pytest
import torch
from torch import nn

from stages.lib.networks import units
from stages.lib.networks.layers.madry_wide_resnet32 import PaddedBlock, Standardise
from stages.lib.training import finetuning

MEAN, STD = [0.4, 0.5, 0.6], [0.2, 0.25, 0.3]
NAME = "madry_wide_resnet32_1"


def test_w32_10_has_the_17_pieces_of_figure_2_and_no_weights_in_its_shortcuts():
    with torch.device("meta"):
        theirs, other = (units.build(f"{name}_10", 10, MEAN, STD) for name in ("madry_wide_resnet32", "wide_resnet34"))
    theirs_n, other_n = (sum(weight.numel() for weight in network.parameters()) for network in (theirs, other))
    assert theirs_n == 45_901_914
    assert other_n - theirs_n == 16 * 160 + 160 * 320 + 320 * 640, "the 1 x 1 convolutions of the other's shortcuts"
    assert units.last_pieces(theirs, 2) == ["head", "pool"]
    assert [len(piece) for piece in units.pieces(theirs)] == [1] * 16 + [2]
    assert units.pieces(theirs)[-1] == ["layer1_0", "stem"]


def test_each_image_is_standardised_by_its_own_pixels():
    x = np.random.default_rng(0).random((3, 3, 6, 5)) * np.array([1, 0.2, 1e-6]).reshape(-1, 1, 1, 1)
    grey_values = 255 * x
    std = np.maximum(grey_values.std((1, 2, 3), keepdims=True), 1 / np.sqrt(3 * 6 * 5))
    expected = (grey_values - grey_values.mean((1, 2, 3), keepdims=True)) / std
    pixels = torch.tensor(x, requires_grad=True)
    found = Standardise().double()(pixels)
    assert np.allclose(found.detach().numpy(), expected)
    assert found[2].std() < 0.1, "an image of nearly one colour is not blown up"
    flat = torch.full((1, 3, 4, 4), 0.5, requires_grad=True)
    Standardise()(flat).square().sum().backward()
    assert torch.equal(flat.grad, torch.zeros_like(flat)), "its gradient is a number, too"


@pytest.mark.parametrize(("width_in", "width", "stride", "shared"), [(4, 8, 1, True), (4, 4, 1, True), (4, 10, 2, False), (4, 4, 1, False)])
@pytest.mark.parametrize("side", [8, 7])
@torch.no_grad()
def test_a_block_is_that_of_their_code(width_in, width, stride, shared, side):
    torch.manual_seed(0)
    block = PaddedBlock(width_in, width, stride, shared).double().eval()
    for norm in (block.bn1, block.bn2):
        norm.running_mean.normal_()
        norm.running_var.uniform_(0.001, 0.01)
    x = torch.randn(2, width_in, side, side, dtype=torch.float64)
    assert np.allclose(block(x).numpy(), by_hand(x.numpy(), block, stride, shared))


@torch.no_grad()
def test_the_network_is_their_blocks_in_their_order():
    """Three stages of five blocks: stride 2 in the first block of the second and third, a shared activation in the very first alone."""
    torch.manual_seed(0)
    network = units.build(NAME, 5, MEAN, STD).double().eval()
    x = torch.rand(2, 3, 8, 8, dtype=torch.float64)
    grey_values = 255 * x.numpy()
    z = (grey_values - grey_values.mean((1, 2, 3), keepdims=True)) / grey_values.std((1, 2, 3), keepdims=True)
    z = convolved(z, network.stem.conv1.weight.numpy(), 1)
    for stage in (1, 2, 3):
        for i in range(5):
            z = by_hand(z, network.get_submodule(f"layer{stage}_{i}"), 2 if stage > 1 and i == 0 else 1, shared=(stage, i) == (1, 0))
    z = leaky(normalised(z, network.pool.bn)).mean((2, 3))
    assert z.shape == (2, 64)
    assert np.allclose(network(x).numpy(), z @ network.head.weight.numpy().T + network.head.bias.numpy())


def by_hand(x: np.ndarray, block: PaddedBlock, stride: int, shared: bool) -> np.ndarray:
    active = leaky(normalised(x, block.bn1))
    out = convolved(active, block.conv1.weight.numpy(), stride)
    out = convolved(leaky(normalised(out, block.bn2)), block.conv2.weight.numpy(), 1)
    shortcut = active if shared else x
    if out.shape[1] != x.shape[1]:
        shortcut = pooled(shortcut, stride)
        zeros = np.zeros((len(x), (out.shape[1] - x.shape[1]) // 2, *shortcut.shape[2:]))
        shortcut = np.concatenate([zeros, shortcut, zeros], 1)
    return out + shortcut


def normalised(x: np.ndarray, norm: nn.BatchNorm2d) -> np.ndarray:
    mean, variance = (buffer.numpy().reshape(-1, 1, 1) for buffer in (norm.running_mean, norm.running_var))
    return (x - mean) / np.sqrt(variance + 0.001)


def leaky(x: np.ndarray) -> np.ndarray:
    return np.where(x < 0, 0.1 * x, x)


def convolved(x: np.ndarray, weight: np.ndarray, stride: int) -> np.ndarray:
    """TensorFlow's padding SAME: as many places as fit with zeros around, of an odd number of which one more stands right and below."""
    side = x.shape[-1]
    n = -(-side // stride)
    zeros = max((n - 1) * stride + 3 - side, 0)
    x = np.pad(x, ((0, 0), (0, 0), *[(zeros // 2, zeros - zeros // 2)] * 2))
    windows = np.lib.stride_tricks.sliding_window_view(x, (3, 3), (2, 3))[:, :, ::stride, ::stride]
    return np.einsum("bchwij,ocij->bohw", windows, weight)


def pooled(x: np.ndarray, side: int) -> np.ndarray:
    """The mean of each square; of one that is not whole, as their images of 32 pixels have none, of its part."""
    n = -(-x.shape[-1] // side)
    return np.stack([np.stack([x[:, :, side * i : side * (i + 1), side * j : side * (j + 1)].mean((2, 3)) for j in range(n)], -1)
                     for i in range(n)], -2)  # fmt: skip


@pytest.fixture(scope="module")
def network() -> nn.Sequential:
    torch.manual_seed(0)
    return units.build(NAME, 5, MEAN, STD).eval()


@pytest.mark.parametrize("blocks", [0, 1, 6, 15])
@torch.no_grad()
def test_cut_anywhere_it_gives_its_logits(network, blocks):
    x = torch.rand(2, 3, 16, 16)
    frozen, trained = units.split(network, blocks)
    activations = frozen(x)
    kept = activations.clone()
    assert torch.equal(trained(activations), network(x))
    assert torch.equal(activations, kept)
    assert sum(name.startswith("layer") for name, _ in trained.named_children()) == blocks


@torch.no_grad()
def test_the_mean_and_std_of_data_have_no_part_in_it(network):
    assert (network.normalise.mean.unique().tolist(), network.normalise.std.unique().tolist()) == ([0.0], [1.0])
    x = torch.rand(2, 3, 16, 16)
    moved = finetuning.start(NAME, network.state_dict(), 5, "default", 0, (MEAN, STD)).eval()
    units.load(moved, network.state_dict())
    assert torch.equal(moved(x), network(x))
    assert torch.allclose(network(0.5 * x + 0.2), network(x), atol=1e-4), "brightness and contrast of an image do not matter"


def test_a_head_begins_with_their_weights(network):
    width = network.head.in_features
    assert network.head.weight.abs().max() <= (3 / width) ** 0.5
    assert network.head.weight.square().mean().item() == pytest.approx(1 / width, rel=0.2)
    assert not network.head.bias.any()
