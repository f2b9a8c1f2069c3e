"""Networks as chains of units: cut anywhere they compute the same, and weights that do not fit are refused."""

import pytest
import torch

from stages.lib.errors import RunError
from stages.lib.networks import units
from stages.lib.networks.architectures import BLOCKS

MEAN, STD = [0.4, 0.5, 0.6], [0.2, 0.25, 0.3]


@pytest.fixture(scope="module")
def built() -> dict[str, torch.nn.Sequential]:
    torch.manual_seed(0)
    return {name: units.build(name, 5, MEAN, STD).eval() for name in ("small_resnet", "wide_resnet34_1", "resnet18", "resnet50")}


CUTS = [
    *(("small_resnet", b) for b in range(BLOCKS["small_resnet"] + 1)),
    *(("wide_resnet34_1", b) for b in (0, 1, 6, 15)),
    *(("resnet18", b) for b in range(BLOCKS["resnet18"] + 1)),
    *(("resnet50", b) for b in (0, 1, 3, 9, 16)),
]


@pytest.mark.parametrize(("architecture", "blocks"), CUTS)
@torch.no_grad()
def test_the_two_parts_in_turn_are_the_network(built, architecture, blocks):
    network = built[architecture]
    x = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    frozen, trained = units.split(network, blocks)
    activations = frozen(x)
    kept = activations.clone()
    assert torch.equal(trained(activations), network(x))
    assert torch.equal(activations, kept)  # so that they can be used again
    assert activations.ndim == (2 if blocks == 0 else 4)


@pytest.mark.parametrize(("architecture", "blocks"), CUTS)
def test_each_weight_is_in_one_part_and_shared_with_the_network(built, architecture, blocks):
    network = built[architecture]
    frozen, trained = units.split(network, blocks)
    parts = {**dict(frozen.named_parameters()), **dict(trained.named_parameters())}
    assert {name: id(weight) for name, weight in parts.items()} == {name: id(weight) for name, weight in network.named_parameters()}
    assert not set(frozen.state_dict()) & set(trained.state_dict())
    assert sum(name.startswith("layer") for name, _ in trained.named_children()) == blocks
    assert "head" in dict(trained.named_children())


@pytest.mark.parametrize("blocks", [-1, 10])
def test_more_blocks_than_there_are_is_refused(built, blocks):
    with pytest.raises(ValueError, match=f"blocks is {blocks}; this network allows 0 to 9"):
        units.split(built["small_resnet"], blocks)


def test_names_of_units_stay_as_they_are(built):
    weights = built["small_resnet"].state_dict()
    assert list(units.with_unit_names("small_resnet", weights)) == list(weights)


def test_weights_come_back_with_mean_and_std(built):
    torch.manual_seed(2)
    other = units.build("small_resnet", 5, [0.0] * 3, [1.0] * 3).eval()
    units.load(other, built["small_resnet"].state_dict())
    x = torch.rand(2, 3, 32, 32)
    assert torch.equal(other(x), built["small_resnet"](x))
    assert other.normalise.mean.flatten().tolist() == pytest.approx(MEAN)


def weights_with(network: torch.nn.Module, fault: str) -> dict[str, torch.Tensor]:
    weights = dict(network.state_dict())
    if fault == "missing":
        del weights["layer3_2.conv2.weight"]
    elif fault == "of no place in the network":
        weights["layer4_0.conv1.weight"] = torch.zeros(1)
    elif fault == "integers":
        weights["head.bias"] = weights["head.bias"].int()
    else:
        weights["head.weight"] = torch.zeros(6, 64)
    return weights


@pytest.mark.parametrize(
    ("fault", "name"),
    [
        ("missing", "layer3_2.conv2.weight"),
        ("of no place in the network", "layer4_0.conv1.weight"),
        ("of another shape", "head.weight"),
        ("integers", "head.bias"),
    ],
)
def test_weights_that_do_not_fit_are_refused_and_change_nothing(fault, name):
    network = units.build("small_resnet", 5, MEAN, STD)
    before = {key: tensor.clone() for key, tensor in network.state_dict().items()}
    with pytest.raises(RunError, match=f"do not fit the architecture: 1 {fault}, as {name}"):
        units.load(network, weights_with(network, fault))
    assert all(torch.equal(before[key], tensor) for key, tensor in network.state_dict().items())


def test_all_but_the_head_can_be_loaded(built):
    network = units.build("small_resnet", 9, MEAN, STD)
    head = network.head.weight.clone()
    units.load(network, {k: v for k, v in built["small_resnet"].state_dict().items() if not k.startswith("head.")}, but="head.")
    assert torch.equal(network.head.weight, head)
    assert torch.equal(network.layer1_0.conv1.weight, built["small_resnet"].layer1_0.conv1.weight)


def test_an_unknown_architecture_is_refused_with_the_known_ones():
    with pytest.raises(
        ValueError, match=r"architecture is 'vgg'; allowed: small_resnet, small_resnet_x0_5, small_resnet_x2, wide_resnet34_1"
    ):
        units.build("vgg", 5, MEAN, STD)
