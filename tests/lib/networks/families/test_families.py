"""Families of architectures: the logits and the weights of those who published them, and nothing is told about them without need."""

import subprocess
import sys
from pathlib import Path

import checkpoints as made
import pytest
import torch
import torchvision

from stages.lib.choice import module_of
from stages.lib.networks import architectures, units
from stages.lib.networks.architectures import BLOCKS
from stages.lib.networks.families.table import FAMILIES
from stages.lib.networks.names import OPEN
from stages.lib.store import code

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


def published(architecture: str, num_classes: int) -> torch.nn.Module:
    return module_of(FAMILIES, architecture, "architecture").published(architecture, num_classes)


def test_every_architecture_of_known_size_has_a_family_and_the_other_way_round():
    assert {name for name in FAMILIES if "/" not in name} == BLOCKS.keys(), "but for the names of open families that somebody asked for"
    modules = {f"stages.lib.networks.families.{path.stem}" for path in (code.ROOT / "stages/lib/networks/families").glob("[a-z]*.py")}
    assert set(FAMILIES.values()) - set(OPEN.values()) == modules - {"stages.lib.networks.families.table"}


def test_families_are_told_apart_without_torch():
    loads = f"import sys, importlib; [importlib.import_module(m) for m in {sorted({*FAMILIES.values(), *OPEN.values()})}]; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", loads], cwd=code.ROOT, timeout=60, check=False).returncode == 0


def test_nothing_that_computes_is_made_of_the_sizes():
    for module in (
        "stages.lib.training.finetuning",
        "stages.lib.runs.computing",
        "stages.lib.runs.pretraining",
        "stages.lib.networks.sources",
    ):
        assert Path("stages/lib/networks/architectures.py") not in code.closure(module)


@pytest.mark.parametrize("architecture", BLOCKS)
def test_a_family_whose_head_comes_with_a_dropout_stacks_nothing(architecture):
    with torch.device("meta"):
        network = units.build(architecture, 3, MEAN, STD)
    random = {blocks for blocks in range(4) if any(isinstance(m, torch.nn.Dropout) for m in units.split(network, blocks)[1].modules())}
    most = module_of(FAMILIES, architecture, "architecture").STACKED_BLOCKS
    assert not random if most is not None and most > 0 else (0 in random) == (most is None)


def test_a_family_that_is_added_as_a_file_is_built_cut_and_told_of(tmp_path, monkeypatch):
    """One file, and a line in each of the two tables."""
    (tmp_path / "plain.py").write_text(PLAIN)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setitem(FAMILIES, "plain_8", "plain")
    monkeypatch.setitem(BLOCKS, "plain_8", 2)
    network = units.build("plain_8", 3, MEAN, STD).eval()
    frozen, trained = units.split(network, 1)
    x = torch.rand(2, 3, 16, 16)
    assert torch.equal(trained(frozen(x)), network(x))
    assert len(units.pieces(network)) == architectures.pieces_of("plain_8") == 3
    normaliser = {name: tensor for name, tensor in network.state_dict().items() if name.startswith("normalise.")}
    units.load(network, units.with_unit_names("plain_8", published("plain_8", 3).state_dict()) | normaliser)


PLAIN = """
from torch import nn

STACKED_BLOCKS = None
LONE_BATCHNORM = False


def published(architecture, num_classes):
    width = int(architecture.rpartition("_")[2])
    return nn.Sequential(nn.Conv2d(3, width, 3), nn.ReLU(), nn.Conv2d(width, width, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, num_classes))


def units(network):
    first, relu, second, mean, flat, head = network
    return {"first": nn.Sequential(first, relu), "second": second, "pool": nn.Sequential(mean, flat), "head": head}
"""


@pytest.fixture(scope="module", params=PUBLISHED)
def theirs(request) -> tuple[str, torch.nn.Module]:
    """An architecture, and the network that torchvision builds of it, with random weights."""
    torch.manual_seed(1)
    return request.param, published(request.param, 3).eval()


def loaded_with(weights: dict[str, torch.Tensor], architecture: str) -> torch.nn.Sequential:
    """Ours, which is given no random weights before it is given these, as drawing them takes seconds."""
    with torch.device("meta"):
        ours = units.build(architecture, 3, MEAN, STD)
    ours.to_empty(device="cpu")
    for buffer in ours.buffers():
        buffer.zero_()
    normaliser = {f"normalise.{name}": tensor for name, tensor in units.Normalise(MEAN, STD).state_dict().items()}
    units.load(ours, units.with_unit_names(architecture, weights) | normaliser)
    return ours.eval()


@torch.no_grad()
def test_weights_of_torchvision_give_the_logits_of_torchvision(theirs):
    architecture, network = theirs
    ours = loaded_with(network.state_dict(), architecture)
    x = torch.rand(2, 3, 64, 64)
    expected = network(torchvision.transforms.functional.normalize(x, MEAN, STD))
    assert torch.allclose(ours(x), expected, atol=1e-5)
    frozen, trained = units.split(ours, 0)
    assert frozen(x).ndim == 2, "what the head takes is one vector an image"
    assert not [module for module in frozen.children() if isinstance(module, torch.nn.Dropout)]
    assert torch.equal(trained(frozen(x)), ours(x))


@pytest.mark.parametrize("theirs", ["densenet161", "vgg16_bn"], indirect=True)
def test_files_of_torchvision_that_are_older_than_its_names_fit(theirs):
    """Names with dots inside a dense layer, and batch norms that count no batches: as these two files are published."""
    architecture, network = theirs
    older = made.as_older_torchvision(network.state_dict())
    assert older.keys() != network.state_dict().keys()
    ours = loaded_with(older, architecture)
    expected = units.with_unit_names(architecture, network.state_dict())
    assert all(torch.equal(tensor, expected[name]) for name, tensor in ours.state_dict().items() if name in expected)


@pytest.mark.parametrize("architecture", ["mnasnet1_0", "mobilenet_v2", "vgg16_bn"])
def test_training_the_head_leaves_kept_activations_as_they_are(architecture):
    with torch.device("meta"):
        _, trained = units.split(units.build(architecture, 3, MEAN, STD), 0)
    activations = torch.ones(4, trained.head.in_features)
    assert not torch.equal(trained.train().dropout(activations), activations), "some are dropped"
    assert torch.equal(activations, torch.ones_like(activations))


@pytest.mark.parametrize("theirs", ["densenet161", "vgg16_bn", "mobilenet_v2", "mnasnet1_0", "shufflenet_v2_x1_0"], indirect=True)
@torch.no_grad()
def test_every_cut_of_an_architecture_gives_the_logits_of_the_whole(theirs):
    architecture, network = theirs
    ours = loaded_with(network.state_dict(), architecture)
    x = torch.rand(1, 3, 64, 64)
    whole = ours(x)
    for blocks in (1, 2, BLOCKS[architecture] // 2, BLOCKS[architecture]):
        frozen, trained = units.split(ours, blocks)
        assert torch.equal(trained(frozen(x)), whole), blocks
