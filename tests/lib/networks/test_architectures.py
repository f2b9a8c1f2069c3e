"""The table of architectures says what the networks are, and costs nothing to look into."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import torchvision

from stages.lib.networks import units
from stages.lib.networks.architectures import BLOCKS, pieces_of

ROOT = Path(__file__).resolve().parents[3]


@pytest.mark.parametrize("architecture", BLOCKS)
def test_an_architecture_has_as_many_blocks_as_the_table_says(architecture):
    with torch.device("meta"):  # shapes without memory
        network = units.build(architecture, 7, [0.5] * 3, [0.25] * 3)
    frozen, trained = units.split(network, BLOCKS[architecture])
    assert {name for name, _ in frozen.named_children()} <= {"normalise", "stem"}
    assert len(frozen) + len(trained) == len(network)
    with pytest.raises(ValueError, match=f"allows 0 to {BLOCKS[architecture]}"):
        units.split(network, BLOCKS[architecture] + 1)
    assert network.head.out_features == 7
    pieces = units.pieces(network)
    assert len(pieces) == pieces_of(architecture)
    assert pieces[0] == ["head"]
    assert pieces[-1][-1] == ("conv_0" if architecture.startswith("vgg") else "stem")
    weighted = {name for name, unit in network.named_children() if name != "normalise" and list(unit.parameters())}
    assert sorted(name for piece in pieces for name in piece) == sorted(weighted)


def test_every_resnet_of_torchvision_is_in_the_table():
    known = torchvision.models.list_models(module=torchvision.models, include=["resnet*", "resnext*", "wide_resnet*"])
    assert set(known) <= set(BLOCKS)


def test_settings_are_read_without_torch():
    code = "import sys, stages.lib.networks.architectures, stages.lib.settings.params, stages.lib.store.cells; sys.exit('torch' in sys.modules)"
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    assert subprocess.run([sys.executable, "-c", code], env=environment, timeout=60, check=False).returncode == 0
