"""Networks of timm as units: every cut computes what timm's own network computes, groups of layers are the blocks, and what cannot be is said."""

import copy
import json
import pickle
import subprocess
import sys

import pytest
import timm
import timm_tiny as tiny
import torch
from timm.models import group_parameters
from torch import nn

from stages.lib.errors import RunError
from stages.lib.networks import architectures, units
from stages.lib.networks.names import OpenName, known
from stages.lib.networks.timm import cuts as timm_cuts
from stages.lib.networks.timm import networks as timm_networks
from stages.lib.runs import deciding
from stages.lib.store import code

ARCHITECTURES = {
    "timm/tiny_vit": 3, "timm/tiny_vit@64": 3, "timm/tiny_vit+convstem": 3, "timm/tiny_dinov2@28": 2, "timm/tiny_convnext": 5, "timm/tiny_convnext+convstem@64": 5,
    "timm/tiny_swin": 4, "timm/tiny_xcit": 4, "timm/tiny_xcit,depth=1": 3, "timm/tiny_resnet": 4, "timm/test_efficientnet@32": 5, "timm/test_byobnet@32": 4,
}  # fmt: skip


def ours_and_theirs(architecture: str) -> tuple[nn.Sequential, nn.Module]:
    """The units and timm's network with the same weights, both in float64."""
    theirs = tiny.filled(timm_networks.network(architecture, 3)).double()
    ours = units.build(known(architecture), 3, list(tiny.MEAN), list(tiny.STD)).eval()
    units.load(ours, units.with_unit_names(known(architecture), theirs.state_dict()), but="normalise.")
    return ours.double(), theirs


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@torch.no_grad()
def test_every_cut_computes_what_timm_computes(architecture):
    ours, theirs = ours_and_theirs(architecture)
    x = torch.rand(2, 3, theirs.image_size, theirs.image_size, dtype=torch.float64)
    expected = theirs((x - torch.tensor(tiny.MEAN).double().view(3, 1, 1)) / torch.tensor(tiny.STD).double().view(3, 1, 1))
    assert expected.std() > 1e-3, "weights that matter"
    for blocks in range(ARCHITECTURES[architecture] + 1):
        frozen, trained = units.split(ours, blocks)
        kept = frozen(x).movedim(1, -1).contiguous().movedim(-1, 1)  # as activations are kept
        assert torch.allclose(trained(kept), expected, rtol=1e-6, atol=1e-7), blocks
        assert blocks or kept.ndim == 2, "what the head takes is one vector an image"


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_blocks_are_the_groups_of_timm(architecture):
    """Each group of timm's is a unit, but that its first one is the stem, and what the last has beside the last linear layer the pooling's."""
    ours, theirs = ours_and_theirs(architecture)
    groups = group_parameters(theirs, theirs.group_matcher(coarse=False), reverse=True)
    renamed = units.with_unit_names(known(architecture), dict(theirs.named_parameters()))
    by_group: dict[int, set[str]] = {}
    for (name, _), unit in zip(theirs.named_parameters(), (name.split(".")[0] for name in renamed), strict=True):
        if name != "cls_token" or "xcit" not in architecture:  # which enters XCiT in front of its class attention
            by_group.setdefault(groups[name], set()).add(unit)
    first, *blocks, last = (by_group[group] for group in sorted(by_group))
    assert first == {"stem"}
    assert last <= {"pool", "head"}
    assert all(len(names) == 1 for names in blocks)
    assert [name for names in blocks for name in names] == [name for name, _ in ours.named_children()][2:-2]
    assert len(blocks) == ARCHITECTURES[architecture] == architectures.blocks_of(architecture)
    assert len(units.pieces(ours)) == architectures.pieces_of(architecture)


@torch.no_grad()
def test_images_of_another_size_are_brought_to_the_networks():
    ours, theirs = ours_and_theirs("timm/tiny_vit@64")
    x = torch.rand(2, 3, 16, 16, dtype=torch.float64)
    larger = torch.nn.functional.interpolate(x, (64, 64), mode="bilinear", antialias=True)
    assert torch.allclose(ours(x), ours(larger))
    assert theirs.pos_embed.shape[1] == 1 + 2 * 2, "as published: timm resamples them for 4 x 4 tokens"


def test_a_name_is_known_wherever_it_is_sent():
    name = known("timm/tiny_vit@48")
    assert isinstance(copy.deepcopy(name), OpenName)
    assert json.loads(json.dumps({name: name})) == {"timm/tiny_vit@48": "timm/tiny_vit@48"}
    script = f"import pickle; name = pickle.loads({pickle.dumps(name)}); from stages.lib.networks.families.table import FAMILIES; print(FAMILIES[name])"
    done = subprocess.run([sys.executable, "-c", script], cwd=code.ROOT, capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "stages.lib.networks.timm.family"
    assert known("resnet18") == "resnet18"
    assert not isinstance(known("other/resnet18"), OpenName)


def test_the_version_of_timm_is_in_the_keys_of_its_networks_alone():
    module = "stages.lib.runs.work.finetune"
    assert deciding.code_of(module, deciding.modules_of_architecture("timm/tiny_vit"))["timm"] == timm.__version__
    assert "timm" not in deciding.code_of(module, deciding.modules_of_architecture("resnet18"))


@pytest.mark.parametrize(
    ("architecture", "said"),
    [
        ("timm/convnext_tiny2", r"network is 'convnext_tiny2'; allowed: a network of timm [\d.]+, such as convnext_tiny"),
        (
            "timm/convnext_tiny.fb_in1",
            r"network is 'convnext_tiny.fb_in1'; allowed: convnext_tiny, or with the tag .*, such as .*convnext_tiny.fb_in1k",
        ),
        ("timm/tiny_vit@40", r"takes no images of 40 x 40 pixels \(.*40.*16"),
        ("timm/tiny_resnet+convstem", r"tiny_resnet takes no convstem; allowed: a ConvNeXt, or a vision transformer"),
        ("timm/tiny_resnet,depth=3", r"tiny_resnet cannot be built for images of 32 pixels: .*depth"),
        ("timm/tiny_volo", r"cannot be cut into a sequence of its groups of layers: "),
        ("timm/tiny_vit@@", r"network is 'timm/tiny_vit@@'; allowed: timm/<name of the library>"),
        ("timm-tiny_vit", r"architecture is 'timm-tiny_vit'; allowed: small_resnet, .*timm/<name"),
    ],
)
def test_what_cannot_be_is_one_clear_line(architecture, said):
    with pytest.raises(RunError, match=said) as raised:
        architectures.blocks_of(architecture)
    assert "\n" not in str(raised.value)


def test_a_network_whose_blocks_skip_one_another_is_no_sequence(monkeypatch):
    """One whose second block is given what the stem gave, too."""

    def skipping(self, x):
        x = self.patch_embed(x)
        first = self.blocks[0](self._pos_embed(x))
        return self.norm(self.blocks[2](self.blocks[1](first + 1)))

    monkeypatch.setattr(timm.models.vision_transformer.VisionTransformer, "forward_features", skipping)
    with pytest.raises(RunError, match=r"blocks\.1 does not take what blocks\.0 gives"):
        timm_cuts.cut_of.__wrapped__("timm/tiny_vit")


@pytest.mark.parametrize(
    ("network", "said"),
    [("csatv2", "timm has none for it"), ("coat_mini", r"timm has serial_blocks1\.0\.cpe\.proj\.weight in none of them")],
)
def test_a_network_that_timm_has_no_groups_for_is_refused(network, said):
    with pytest.raises(RunError, match=f"network timm/{network} cannot be cut into a sequence of its groups of layers: {said}"):
        timm_cuts.cut_of(f"timm/{network}")


def test_a_weight_without_a_part_in_the_logits_is_named(monkeypatch):
    kind = timm.models.vision_transformer.VisionTransformer
    monkeypatch.setattr(kind, "forward_head", lambda self, x, pre_logits: self.fc_norm(x[:, 0].detach()))
    with pytest.raises(RunError, match=r"the weight stem\.body\.cls_token changes no logit"):
        timm_cuts.cut_of.__wrapped__("timm/tiny_vit")


def test_units_that_compute_something_else_are_refused():
    architecture = "timm/tiny_vit"
    ours, theirs = (network.float() for network in ours_and_theirs(architecture))
    timm_networks.check(ours, architecture, 3, theirs.state_dict())
    ours.blocks_1 = nn.Identity()
    with pytest.raises(RunError, match=r"its units give other logits than timm"):
        timm_networks.check(ours, architecture, 3, theirs.state_dict())
