"""Sources of timm from published files to fine-tuned runs: the logits and the runs are those of timm itself, and bad files are one line."""

import re
from dataclasses import dataclass, field
from pathlib import Path

import checkpoints as made
import numpy as np
import pandas as pd
import pytest
import served
import timm
import timm_tiny as tiny
import torch
from safetensors.torch import load_file, save
from timm.models import group_parameters
from torch import nn

from stages import check, draw_subsets, evaluate_robustness, finetune, source
from stages.lib.datasets import sets
from stages.lib.errors import RunError
from stages.lib.fetching import pinned
from stages.lib.models import classifier, kept
from stages.lib.networks import inference, sources, units
from stages.lib.networks.names import known
from stages.lib.networks.timm import convstem as timm_convstem
from stages.lib.networks.timm import networks as timm_networks
from stages.lib.settings import params
from stages.lib.store import tables
from stages.lib.training import finetuning
from stages.studies import registry

PLAIN = {"mean": [0.0] * 3, "std": [1.0] * 3}  # no normalisation
ROBUST = {"threat": {"norm": "linf", "eps": 4 / 255}, "threat_model": "Linf, eps=4/255"}


@dataclass(frozen=True)
class Published:
    """A file as its authors publish it, and the entry that brings it."""

    name: str  # of the network
    content: bytes
    entry: dict = field(default_factory=dict)
    suffix: str = "pth"

    def network(self) -> nn.Module:
        """timm's own network with these weights."""
        network = tiny.filled(timm.create_model(self.name))
        return tiny.filled(timm_convstem.with_convstem(network, self.name)) if "stem" in self.entry else network


def published() -> dict[str, Published]:
    def state(name: str, stem: bool = False) -> dict[str, torch.Tensor]:
        return Published(name, b"", {"stem": "convstem"} if stem else {}).network().state_dict()

    return {
        "vit": Published("tiny_vit", save(state("tiny_vit")), suffix="safetensors"),
        "dinov2": Published("tiny_dinov2", save(state("tiny_dinov2")), {"image_size": 28}, "safetensors"),
        "efficientnet": Published("test_efficientnet", save(state("test_efficientnet")), suffix="safetensors"),
        "resnet": Published("tiny_resnet", tiny.FORMATS["timm"](state("tiny_resnet"))),
        "normalised": Published("tiny_resnet", tiny.FORMATS["robustbench"](state("tiny_resnet"))),
        "liu_convnext": Published("tiny_convnext", tiny.FORMATS["liu2023"](state("tiny_convnext")), ROBUST),
        "liu_swin": Published("tiny_swin", tiny.FORMATS["liu2023"](tiny.as_older_swin(state("tiny_swin"))), ROBUST),
        "singh_convnext": Published("tiny_convnext", tiny.FORMATS["singh2023"](state("tiny_convnext", True)), ROBUST | PLAIN | {"stem": "convstem"}),
        "singh_vit": Published("tiny_vit", tiny.FORMATS["singh2023"](state("tiny_vit", True)), ROBUST | PLAIN | {"stem": "convstem"}),
        "debenedetti": Published("tiny_xcit", tiny.FORMATS["debenedetti2022"](tiny.as_older_xcit(state("tiny_xcit"))), ROBUST | PLAIN),
    }  # fmt: skip


PUBLISHED = published()


@pytest.fixture(scope="module")
def server():
    with served.Server({f"{name}.{each.suffix}": each.content for name, each in PUBLISHED.items()}) as running:
        yield running


def enter(workspace, server, name: str, **changes: object) -> None:
    """Put the entry of a published network in the catalog, under its name."""
    each = PUBLISHED[name]
    file = {"name": f"{name}.{each.suffix}", "mirrors": [server.address(f"{name}.{each.suffix}")]}
    entry = {"kind": "timm", "network": each.name, "dataset": "imagenet", "threat": None, "licence": "mit", "file": file}
    workspace.edit("models/catalog.yaml", **{name: entry | each.entry | changes})


def test_timm_knows_the_networks_of_the_catalog(workspace):
    """And those that RobustBench lists have its threat model in its words and as a ball."""
    entries = {name: params.source_entry(name) for name in params.entry_names(params.MODEL_CATALOG)}
    of_timm = {name: entry for name, entry in entries.items() if entry.kind == "timm"}
    assert len(of_timm) == 38
    for name, entry in of_timm.items():
        says = timm_networks.configuration(entry.network)
        assert says.num_classes == (0 if "dinov2" in name else 1000), name
        assert (entry.published_accuracy is None) == (says.num_classes == 0), name
        assert (entry.threat_model is None) == (entry.threat is None), name
        if entry.threat:
            assert (entry.threat_model, entry.threat.norm, entry.threat.eps) == ("Linf, eps=4/255", "linf", pytest.approx(4 / 255)), name
        else:
            assert entry.licence == says.license, name
    plain = {name for name, entry in of_timm.items() if entry.std == [1.0] * 3}
    assert plain == {name for name in of_timm if name.startswith(("singh2023", "debenedetti2022"))} - {"singh2023_vit_small_convstem"}


@pytest.mark.parametrize("name", PUBLISHED)
@torch.no_grad()
def test_a_published_file_gives_the_logits_of_timm(workspace, server, name):
    """From the network, in the format of its authors, with the preprocessing that belongs to it."""
    enter(workspace, server, name)
    source.main(name)
    card, each = sources.card_of(name), PUBLISHED[name]
    entry = params.source_entry(name)
    says = timm.get_pretrained_cfg(each.name)
    assert (card.kind, card.architecture) == ("fetched", entry.architecture)
    assert (card.licence, card.threat_model) == ("mit", each.entry.get("threat_model"))
    assert card.mean == pytest.approx(each.entry.get("mean", says.mean))
    assert card.std == pytest.approx(each.entry.get("std", says.std))
    assert card.file_sha256 == served.sha256(each.content)
    assert pinned.note_of(workspace.folder / source.FETCHED / entry.file.name).read_text().startswith(card.file_sha256)
    theirs, ours = each.network(), sources.load(name)
    size = each.entry.get("image_size", says.input_size[-1])
    x = torch.rand(3, 3, size, size)
    normalised = (x - torch.tensor(card.mean).view(3, 1, 1)) / torch.tensor(card.std).view(3, 1, 1)
    body, _ = units.split(ours, 0)
    if name == "dinov2":  # which is published without a head, and for images of 56 pixels
        theirs = timm.create_model(each.name, dynamic_img_size=True).eval()
        theirs.load_state_dict(each.network().state_dict())
        assert torch.allclose(body(x), theirs(normalised), rtol=1e-4, atol=1e-5)
        assert torch.equal(ours(x), torch.zeros(3, 1))
    else:
        assert torch.allclose(ours(x), theirs(normalised), rtol=1e-4, atol=1e-5)
        assert card.classes == theirs.num_classes == ours.head.out_features


SETTINGS = {"epochs": 3, "batch_size": 8, "lr": 0.02, "momentum": 0.9, "weight_decay": 5e-4}


def by_timm(
    theirs: nn.Module, head: nn.Linear, blocks: int | str, moments: tuple, x: torch.Tensor, y: torch.Tensor, seed: int
) -> nn.Module:
    """Fine-tuned as the runs are, with timm's network and torch's optimiser: the head and the last groups of layers, the others fixed.

    Args:
        theirs: with the weights of the source, and a last layer of the size of `head`.
        x: float [n, 3, H, H] in [0, 1].
    """
    theirs.get_classifier().load_state_dict(head.state_dict())
    groups = group_parameters(theirs, theirs.group_matcher(coarse=False), reverse=True)
    least = {0: np.inf, 1: max(groups.values()) - 1, "all": 0}[blocks]
    classifier = {id(tensor) for tensor in theirs.get_classifier().parameters()}
    theirs.train()
    for module_name, module in theirs.named_modules():
        own = [groups[f"{module_name}.{name}".lstrip(".")] for name, _ in module.named_parameters(recurse=False)]
        if own and max(own) < least:
            module.eval()
    learns = [tensor for name, tensor in theirs.named_parameters() if groups[name] >= least or id(tensor) in classifier]
    optimiser = torch.optim.SGD(learns, SETTINGS["lr"], SETTINGS["momentum"], weight_decay=SETTINGS["weight_decay"])
    order = torch.Generator().manual_seed(seed)
    mean, std = (torch.tensor(moment).view(3, 1, 1) for moment in moments)
    for epoch in range(SETTINGS["epochs"]):
        for group in optimiser.param_groups:
            group["lr"] = SETTINGS["lr"] * 0.1 ** (epoch // max(1, SETTINGS["epochs"] // 3))
        for rows in torch.randperm(len(x), generator=order).split(SETTINGS["batch_size"]):
            optimiser.zero_grad()
            nn.functional.cross_entropy(theirs((x[rows] - mean) / std), y[rows]).backward()
            optimiser.step()
    return theirs.eval()


@pytest.mark.parametrize("blocks", [0, 1, "all"])
@pytest.mark.parametrize("name", ["tiny_vit", "tiny_convnext", "tiny_swin", "tiny_xcit", "tiny_resnet"])
def test_a_run_is_what_timm_itself_gives(name, blocks):
    rng, classes, seed = np.random.default_rng(0), 3, 20000000
    x, y = rng.integers(0, 256, (48, 32, 32, 3), np.uint8), np.arange(48) % classes
    x[y == 1, :16] //= 3
    architecture, published = known(f"timm/{name}"), tiny.filled(timm.create_model(name)).state_dict()
    weights = units.build(architecture, tiny.CLASSES, list(tiny.MEAN), list(tiny.STD))
    translated = timm_networks.as_timm_names(architecture, tiny.CLASSES, published)
    units.load(weights, units.with_unit_names(architecture, translated), but="normalise.")
    network = finetuning.start(architecture, weights.state_dict(), classes, "default", seed)
    without_dropping = {"drop_path_rate": 0.0} if name == "tiny_swin" else {}  # which by default leaves out a tenth at random
    theirs = timm.create_model(name, num_classes=classes, **without_dropping)
    kept = {key: tensor for key, tensor in published.items() if not key.startswith(tiny.HEADS[name])}
    theirs.load_state_dict(theirs.state_dict() | kept)
    images = torch.from_numpy(x.astype(np.float32)).permute(0, 3, 1, 2) / 255
    theirs = by_timm(theirs, network.head, blocks, (tiny.MEAN, tiny.STD), images[:24], torch.from_numpy(y[:24]), seed)
    frozen, trained = (None, network) if blocks == "all" else units.split(network, blocks)
    before = {key: tensor.clone() for key, tensor in network.state_dict().items()}
    inputs = finetuning.Inputs(x[:24], y[:24], x[24:], y[24:])
    rows = list(finetuning.finetune(trained, inputs, np.arange(24), frozen=frozen, seed=seed, eval_every=1, **SETTINGS))
    network.eval()
    with torch.no_grad():
        mean, std = (torch.tensor(moment).view(3, 1, 1) for moment in (tiny.MEAN, tiny.STD))
        expected = theirs((images[24:] - mean) / std)
        assert torch.allclose(network(images[24:]), expected, rtol=1e-3, atol=1e-4)
    assert rows[-1].test_accuracy == pytest.approx(
        100 * (expected.argmax(1) == torch.from_numpy(y[24:])).float().mean().item(), abs=100 / 24 + 1e-3
    )
    moved = {key.split(".")[0] for key, tensor in network.state_dict().items() if not torch.equal(tensor, before[key])}
    names = [unit for unit, _ in network.named_children() if unit not in ("normalise", "stem", "pool", "head")]
    assert moved - {"pool"} == {0: {"head"}, 1: {names[-1], "head"}, "all": {"stem", *names, "head"}}[blocks]


@torch.no_grad()
def test_frozen_statistics_are_adapted_where_there_are_any():
    """Of timm's batch norms with an activation, the mean over batches; a network without batch norm stays as it is."""
    rng = np.random.default_rng(0)
    x, batches = rng.integers(0, 256, (12, 32, 32, 3), np.uint8), [np.arange(6), np.arange(6, 12)]
    network = units.build(known("timm/test_efficientnet@32"), 3, list(tiny.MEAN), list(tiny.STD)).eval()
    frozen, _ = units.split(network, 1)
    inference.adapt(frozen, x, batches, inference.View())
    mean, std = (torch.tensor(moment).view(3, 1, 1) for moment in (tiny.MEAN, tiny.STD))
    images = (torch.from_numpy(x.astype(np.float32)).permute(0, 3, 1, 2) / 255 - mean) / std
    first = torch.stack([frozen.stem.body.conv_stem(images[rows]).mean((0, 2, 3)) for rows in batches]).mean(0)
    assert torch.allclose(frozen.stem.body.bn1.running_mean, first, atol=1e-5)
    without = units.build(known("timm/tiny_vit"), 3, list(tiny.MEAN), list(tiny.STD)).eval()
    before = without(images)
    inference.adapt(units.split(without, 1)[0], x, batches, inference.View())
    assert torch.equal(without(images), before)


def test_a_timm_network_without_pre_training_is_a_source_too(workspace):
    workspace.edit("models/catalog.yaml", drawn={"kind": "random", "architecture": "timm/test_vit@32"})
    source.main("drawn")
    assert sources.card_of("drawn").architecture == "timm/test_vit@32"
    workspace.edit("models/catalog.yaml", natural__architecture="timm/test_vit@32")
    with pytest.raises(RunError, match=r"natural\.architecture is .timm.*allowed: an architecture of the table"):
        params.source_entry("natural")


def test_stages_take_a_network_of_32_pixels_beside_images_of_16(images_ready, server):
    """Fetched, fine-tuned by workers on digits, and attacked; a kept model is the source with what was learnt."""
    server.files["brought.safetensors"] = save(tiny.filled(timm.create_model("test_vit")).state_dict())
    file = {"name": "brought.safetensors", "mirrors": [server.address("brought.safetensors")]}
    entry = {"kind": "timm", "network": "test_vit", "image_size": 32, "dataset": "imagenet", "threat": None, "file": file}
    images_ready.edit("models/catalog.yaml", brought=entry)
    images_ready.edit(
        "params.yaml", models=["brought"], sources=["brought"], blocks=[0, 1, "all"], draw_subsets__n_images=[40], draw_subsets__n_seeds=1
    )
    draw_subsets.main("digits")
    source.main("brought")
    finetune.main("brought")
    table = pd.read_parquet(tables.finetuned("brought") / "runs.parquet")
    assert table.groupby("blocks").size().to_dict() == {"0": 2, "1": 2, "all": 2}
    evaluate_robustness.main("brought")
    [model] = [model for model in kept.kept_of("brought", "digits") if model.blocks == "1"]
    card, weights = kept.tuned_parts(model)
    folder = images_ready.folder / "home"
    kept.save(folder, card, kept.merged(weights))
    x, y = sets.load("digits", "test")
    labels = [int(label) for label, _ in classifier.load(folder).labels(np.asarray(x))]
    last = table[(table.blocks == "1") & (table.epoch == 2)].test_accuracy.item()
    assert 100 * np.mean(np.array(labels) == y) == pytest.approx(last, abs=1e-4)
    assert {name.split(".")[0] for name in load_file(weights[-1])} <= {"blocks_5", "pool", "head", "normalise"}


@pytest.mark.parametrize(
    ("changes", "blocks", "said"),
    [
        ({"network": "tiny_vitt"}, [0], r"models/catalog.yaml: vit\.network is 'tiny_vitt'; allowed: a network of timm .*tiny_vit"),
        ({"network": "tiny_volo"}, [0], r"vit\.network timm/tiny_volo cannot be cut into a sequence of its groups of layers"),
        ({"image_size": 40}, [0], r"vit\.network timm/tiny_vit@40 takes no images of 40 x 40 pixels"),
        ({}, [4], r"blocks: 4 is above the 3 blocks of vit \(timm/tiny_vit\); allowed: 0 to 3, or all"),
    ],
)
def test_check_says_what_cannot_be_brought(workspace, server, changes, blocks, said):
    enter(workspace, server, "vit", **changes)
    workspace.edit("params.yaml", models=["natural", "vit"], sources=["natural", "vit"], blocks=blocks)
    [line] = [line for line in check.problems(registry.load_params()) if "vit" in line]
    assert re.search(said, line), line
    assert "\n" not in line


def test_a_file_that_is_none_of_the_network_is_one_line(workspace, server, tmp_path):
    state = PUBLISHED["vit"].network().state_dict()
    (first, _), *others = state.items()
    untouched = Path(tmp_path / "touched")
    for name, content, said in (
        ("unsafe.pth", made.malicious(untouched), r"needs code to be read .* nothing in it ran"),
        (
            "missing.pth",
            made.torch_bytes(dict(others)),
            rf"missing.pth is no timm/tiny_vit with 5 classes: .*1 missing, as stem\.body\.{first}",
        ),
        ("further.pth", made.torch_bytes(state | {"more": torch.zeros(2)}), r"1 of no place in the network, as more"),
        ("classes.pth", made.torch_bytes(state | {"head.weight": torch.zeros(9, 24)}), r"1 of another shape, as head.weight"),
    ):
        server.files[name] = content
        enter(workspace, server, "vit", file={"name": name, "mirrors": [server.address(name)]})
        with pytest.raises(RunError, match=said) as raised:
            source.main("vit")
        assert "\n" not in str(raised.value)
    assert not untouched.exists()
