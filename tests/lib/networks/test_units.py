"""Networks as chains of units: cut anywhere they compute the same, and torchvision's weights fit into them."""

import checkpoints as made
import pytest
import torch
import torchvision

from stages.lib.errors import RunError
from stages.lib.networks import residual, units
from stages.lib.networks.architectures import BLOCKS

MEAN, STD = [0.4, 0.5, 0.6], [0.2, 0.25, 0.3]


PUBLISHED = [
    "resnet18",
    "resnet50",
    "wide_resnet50_2",
    "resnext50_32x4d",
    "densenet161",
    "vgg16_bn",
    "mobilenet_v2",
    "mnasnet1_0",
    "shufflenet_v2_x1_0",
]


@pytest.fixture(scope="module")
def built() -> dict[str, torch.nn.Sequential]:
    torch.manual_seed(0)
    return {name: units.build(name, 5, MEAN, STD).eval() for name in ("small_resnet", "wide_resnet32_1", "resnet18", "resnet50")}


CUTS = [
    *(("small_resnet", b) for b in range(BLOCKS["small_resnet"] + 1)),
    *(("wide_resnet32_1", b) for b in (0, 1, 6, 15)),
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


@torch.no_grad()
def test_the_small_network_is_resnet_20_with_a_faster_stem(built):
    network = built["small_resnet"]
    x = torch.rand(2, 3, 32, 32)
    shapes = {}
    for name, unit in network.named_children():
        x = unit(x)
        shapes[name] = tuple(x.shape[1:])
    assert shapes["stem"] == (16, 16, 16)
    assert [shapes[f"layer{i}_2"] for i in (1, 2, 3)] == [(16, 16, 16), (32, 8, 8), (64, 4, 4)]
    assert (shapes["pool"], shapes["head"]) == ((64,), (5,))
    assert 0.26e6 < sum(weight.numel() for weight in network.parameters()) < 0.28e6


@pytest.mark.parametrize("architecture", PUBLISHED)
@torch.no_grad()
def test_weights_of_torchvision_give_the_logits_of_torchvision(architecture):
    torch.manual_seed(1)
    theirs = units._published(architecture, 5).eval()
    ours = units.build(architecture, 5, MEAN, STD).eval()
    normaliser = {name: tensor for name, tensor in ours.state_dict().items() if name.startswith("normalise.")}
    units.load(ours, units.with_unit_names(architecture, theirs.state_dict()) | normaliser)
    x = torch.rand(2, 3, 64, 64)
    expected = theirs(torchvision.transforms.functional.normalize(x, MEAN, STD))
    assert torch.allclose(ours(x), expected, atol=1e-5)
    frozen, trained = units.split(ours, 0)
    assert frozen(x).ndim == 2, "what the head takes is one vector an image"
    assert not [module for module in frozen.children() if isinstance(module, torch.nn.Dropout)]
    assert torch.equal(trained(frozen(x)), ours(x))


@pytest.mark.parametrize("architecture", ["densenet161", "vgg16_bn"])
def test_files_of_torchvision_that_are_older_than_its_names_fit(architecture):
    """Names with dots inside a dense layer, and batch norms that count no batches: as these two files are published."""
    torch.manual_seed(1)
    theirs = units._published(architecture, 3)
    older = made.as_older_torchvision(theirs.state_dict())
    assert older.keys() != theirs.state_dict().keys()
    ours = units.build(architecture, 3, MEAN, STD)
    normaliser = {name: tensor for name, tensor in ours.state_dict().items() if name.startswith("normalise.")}
    units.load(ours, units.with_unit_names(architecture, older) | normaliser)
    expected = units.with_unit_names(architecture, theirs.state_dict())
    assert all(torch.equal(tensor, expected[name]) for name, tensor in ours.state_dict().items() if name in expected)


@pytest.mark.parametrize("architecture", ["mnasnet1_0", "mobilenet_v2", "vgg16_bn"])
def test_training_the_head_leaves_kept_activations_as_they_are(architecture):
    _, trained = units.split(units.build(architecture, 3, MEAN, STD), 0)
    activations = torch.ones(4, trained.head.in_features)
    assert not torch.equal(trained.train().dropout(activations), activations), "some are dropped"
    assert torch.equal(activations, torch.ones_like(activations))


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
    else:
        weights["head.weight"] = torch.zeros(6, 64)
    return weights


@pytest.mark.parametrize(
    ("fault", "name"),
    [
        ("missing", "layer3_2.conv2.weight"),
        ("of no place in the network", "layer4_0.conv1.weight"),
        ("of another shape", "head.weight"),
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
    with pytest.raises(ValueError, match=r"architecture is 'vgg'; allowed: small_resnet, wide_resnet32_1"):
        units.build("vgg", 5, MEAN, STD)


@torch.no_grad()
def test_a_wide_resnet_32_10_has_the_17_pieces_and_the_weights_of_madrys():
    with torch.device("meta"):
        network = units.build("wide_resnet32_10", 10, MEAN, STD)
    assert sum(weight.numel() for weight in network.parameters()) == 46_160_474  # as published for this network
    assert len(units.pieces(network)) == 17
    assert units.pieces(network)[1] == ["pool"], "the last batch norm is a piece by itself"
    assert units.last_pieces(network, 2) == ["head", "pool"]
    assert set(units.last_pieces(network, "all")) == {name for name, _ in network.named_children()} - {"normalise"}


def test_a_block_of_a_wide_resnet_normalises_before_it_convolves():
    torch.manual_seed(0)
    block = residual.PreactBlock(4, 6, stride=2).double().eval()
    x = torch.rand(2, 4, 8, 8, dtype=torch.float64)
    active = torch.relu(block.bn1(x))
    expected = block.conv2(torch.relu(block.bn2(block.conv1(active)))) + block.shortcut(active)
    assert torch.allclose(block(x.clone()), expected)
    same = residual.PreactBlock(4, 4, stride=1).double().eval()
    out = same.conv2(torch.relu(same.bn2(same.conv1(torch.relu(same.bn1(x))))))
    assert torch.allclose(same(x.clone()), x + out)


def test_a_wide_resnet50_4_is_a_resnet50_four_times_as_wide_inside_its_blocks():
    with torch.device("meta"):
        network = units._published("wide_resnet50_4", 1000)
    assert network.layer1[0].conv2.weight.shape == (256, 256, 3, 3)
    assert network.layer4[2].conv3.weight.shape == (2048, 2048, 1, 1)


@pytest.mark.parametrize("architecture", ["densenet161", "vgg16_bn", "mobilenet_v2", "mnasnet1_0", "shufflenet_v2_x1_0"])
@torch.no_grad()
def test_every_cut_of_an_architecture_gives_the_logits_of_the_whole(architecture):
    torch.manual_seed(0)
    network = units.build(architecture, 3, MEAN, STD).eval()
    x = torch.rand(1, 3, 64, 64)
    whole = network(x)
    for blocks in (1, 2, BLOCKS[architecture] // 2, BLOCKS[architecture]):
        frozen, trained = units.split(network, blocks)
        assert torch.equal(trained(frozen(x)), whole), blocks
