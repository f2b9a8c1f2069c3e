"""Networks as a chain of units, so that one number, `blocks`, cuts them into a frozen part and a trained part.

A network takes images in [0, 1]; its first unit normalises them with the mean and std that belong to its weights.
"""

import re
from collections import OrderedDict
from itertools import chain

import torch
from torch import Tensor, nn

from stages.lib.errors import RunError
from stages.lib.networks.architectures import BLOCKS
from stages.lib.networks.residual import SmallResNet, WideResNet


class Normalise(nn.Module):
    """(x - mean) / std per channel; both are stored with the weights."""

    def __init__(self, mean: list[float], std: list[float]):
        super().__init__()
        self.register_buffer("mean", torch.tensor(mean).view(1, -1, 1, 1))
        self.register_buffer("std", torch.tensor(std).view(1, -1, 1, 1))

    def forward(self, x: Tensor) -> Tensor:  # [batch, C, H, W] in [0, 1]
        return (x - self.mean) / self.std


def build(architecture: str, num_classes: int, mean: list[float], std: list[float]) -> nn.Sequential:
    """A network with random weights, as a chain of named units whose last one is the head.

    Args:
        architecture: a key of `BLOCKS`.
        num_classes: outputs of the head.
        mean, std: of the images, per channel, in [0, 1] units.

    Returns:
        units `normalise`, `stem`, one per block (`layer4_2`), `pool`, `dropout` where the architecture has one, `head`.
    """
    units = _units(architecture, _published(architecture, num_classes))
    return nn.Sequential(OrderedDict({"normalise": Normalise(mean, std)} | units))


def _published(architecture: str, num_classes: int) -> nn.Module:
    """The network as torchvision has it, but for the embedded one, and one that only the `robustness` library names."""
    if architecture not in BLOCKS:
        raise ValueError(f"architecture is {architecture!r}; allowed: {', '.join(BLOCKS)}")
    if architecture == "small_resnet":
        return SmallResNet(num_classes)
    if architecture.startswith("wide_resnet32_"):
        return WideResNet(int(architecture.rpartition("_")[2]), num_classes)
    from torchvision import models  # here, as it takes two seconds to import, and the small network needs none of it

    if architecture == "wide_resnet50_4":
        return models.ResNet(models.resnet.Bottleneck, [3, 4, 6, 3], num_classes=num_classes, width_per_group=4 * 64)
    return models.get_model(architecture, weights=None, num_classes=num_classes)


def _units(architecture: str, network: nn.Module) -> dict[str, nn.Module]:
    """The modules of a network in the order in which an image goes through them, as units; no weight is copied."""
    cuts = {"densenet": _densenet, "vgg": _vgg, "mobilenet": _mobilenet, "mnasnet": _mnasnet, "shufflenet": _shufflenet}
    cut = next((cut for family, cut in cuts.items() if architecture.startswith(family)), _resnet)
    return cut(dict(network.named_children()))


def _resnet(children: dict[str, nn.Module]) -> dict[str, nn.Module]:
    units = {"stem": _chain({name: m for name, m in children.items() if name in ("conv1", "bn1", "relu", "maxpool")})}
    for stage in ("layer1", "layer2", "layer3", "layer4"):
        units |= {f"{stage}_{i}": block for i, block in enumerate(children.get(stage, []))}
    if "bn" in children:  # of a network whose blocks begin with their batch norm, the last one
        pool = _chain({"bn": children["bn"], "relu": nn.ReLU(inplace=True), "avgpool": nn.AdaptiveAvgPool2d(1), "flatten": nn.Flatten(1)})
    else:
        pool = nn.Sequential(children["avgpool"], nn.Flatten(1))
    return units | {"pool": pool, "head": children["fc"]}


def _densenet(children: dict[str, nn.Module]) -> dict[str, nn.Module]:
    features = dict(children["features"].named_children())
    units = {"stem": _chain({name: features[name] for name in ("conv0", "norm0", "relu0", "pool0")})}
    for stage in (1, 2, 3, 4):
        before = features.get(f"transition{stage - 1}")
        for i, layer in enumerate(features[f"denseblock{stage}"].children()):
            unit = DenseUnit(layer)
            units[f"denseblock{stage}_{i}"] = nn.Sequential(before, unit) if i == 0 and before is not None else unit
    pool = nn.Sequential(features["norm5"], nn.ReLU(inplace=True), nn.AdaptiveAvgPool2d(1), nn.Flatten(1))
    return units | {"pool": pool, "head": children["classifier"]}


def _vgg(children: dict[str, nn.Module]) -> dict[str, nn.Module]:
    groups: list[list[nn.Module]] = []
    for module in children["features"]:
        if isinstance(module, nn.Conv2d):
            groups.append([])
        groups[-1].append(module)
    units = {f"conv_{i}": nn.Sequential(*group) for i, group in enumerate(groups)}
    first, relu1, dropout1, second, relu2, dropout2, head = children["classifier"]
    units["linear_0"] = nn.Sequential(children["avgpool"], nn.Flatten(1), first, relu1, dropout1)
    return units | {"linear_1": nn.Sequential(second, relu2), "dropout": dropout2, "head": head}


def _mobilenet(children: dict[str, nn.Module]) -> dict[str, nn.Module]:
    stem, *blocks = children["features"]
    units = {"stem": stem} | {f"features_{i}": block for i, block in enumerate(blocks, start=1)}
    dropout, head = children["classifier"]
    return units | {"pool": _mean(), "dropout": dropout, "head": head}


def _mnasnet(children: dict[str, nn.Module]) -> dict[str, nn.Module]:
    modules = list(children["layers"])
    units = {"stem": nn.Sequential(*modules[:8])}
    units |= {f"stack{s}_{i}": block for s, stack in enumerate(modules[8:14]) for i, block in enumerate(stack)}
    dropout, head = children["classifier"]
    dropout.inplace = False  # it would write into activations that are kept for other runs
    return units | {"last": nn.Sequential(*modules[14:]), "pool": _mean(), "dropout": dropout, "head": head}


def _shufflenet(children: dict[str, nn.Module]) -> dict[str, nn.Module]:
    units = {"stem": nn.Sequential(children["conv1"], children["maxpool"])}
    units |= {f"{stage}_{i}": unit for stage in ("stage2", "stage3", "stage4") for i, unit in enumerate(children[stage])}
    return units | {"conv5": children["conv5"], "pool": _mean(), "head": children["fc"]}


def _chain(modules: dict[str, nn.Module]) -> nn.Sequential:
    return nn.Sequential(OrderedDict(modules))


def _mean() -> nn.Sequential:
    """Over all pixels: one vector an image."""
    return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(1))


class DenseUnit(nn.Module):
    """A dense layer: its output is concatenated to its input (Huang et al. 2017)."""

    def __init__(self, layer: nn.Module):
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([x, self.layer(x)], 1)


def device_of(network: nn.Module) -> torch.device:
    return next(chain(network.parameters(), network.buffers())).device


def split(network: nn.Sequential, blocks: int) -> tuple[nn.Sequential, nn.Sequential]:
    """Cut before the last `blocks` blocks: (frozen, trained), both sharing the network's weights.

    `blocks: 0` trains the head alone, as in Utrera et al. (2021, A.3); the pooling then belongs to the frozen part, so
    that what it passes on is one vector an image.

    Raises:
        ValueError: when the network has fewer blocks.
    """
    units = list(network.named_children())
    own = [i for i, (name, _) in enumerate(units) if name not in ("normalise", "stem", "pool", "dropout", "head")]
    if not 0 <= blocks <= len(own):
        raise ValueError(f"blocks is {blocks}; this network allows 0 to {len(own)}")
    end = next(i for i, (name, _) in enumerate(units) if name in ("dropout", "head"))
    cut = own[-blocks] if blocks else end
    return nn.Sequential(OrderedDict(units[:cut])), nn.Sequential(OrderedDict(units[cut:]))


def pieces(network: nn.Sequential) -> list[list[str]]:
    """Names of the units from the head downwards, as they are retrained one after the other (Shafahi et al. 2020, Figure 2).

    The head; the last batch norm, where it stands by itself; each block; the stem goes with the block that follows it. That of a
    wide residual network 32-10 are 17.
    """
    weighted = [name for name, unit in network.named_children() if name != "normalise" and any(True for _ in unit.parameters())]
    if weighted[0] != "stem":  # as in VGG, whose first block sees the image
        return [[name] for name in reversed(weighted)]
    stem, first, *rest = weighted
    return [*([name] for name in reversed(rest)), [first, stem]]


def last_pieces(network: nn.Sequential, k: int | str) -> list[str]:
    """Names of the units of the last k pieces, or of `all`."""
    found = pieces(network)
    return list(chain.from_iterable(found[: len(found) if k == "all" else k]))


def load(network: nn.Sequential, weights: dict[str, Tensor], but: str = "") -> None:
    """Put weights into a network; every one must be there and fit, but for those whose name starts with `but`.

    Files from before torch 0.4.1, like some of torchvision's, do not count the batches of a batch norm: the network's own
    count then stays, which no result depends on.

    Raises:
        RunError: names what is missing, too many, or of another shape.
    """
    wanted = {name: tensor for name, tensor in network.state_dict().items() if not but or not name.startswith(but)}
    missing = sorted(name for name in wanted.keys() - weights.keys() if not name.endswith(".num_batches_tracked"))
    unknown = sorted(weights.keys() - wanted.keys())
    misshapen = [n for n in wanted.keys() & weights.keys() if wanted[n].shape != weights[n].shape]
    for problem, names in (("missing", missing), ("of no place in the network", unknown), ("of another shape", sorted(misshapen))):
        if names:
            raise RunError(f"weights do not fit the architecture: {len(names)} {problem}, as {names[0]}")
    network.load_state_dict(network.state_dict() | weights)


def with_unit_names(architecture: str, weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """Weights under the names of the units; those of torchvision (`layer4.2.conv1.weight`) are translated.

    Its published DenseNets have names from before a module's could hold no dot: `denselayer1.norm.1.weight`, now `norm1`.
    """
    with torch.device("meta"):  # names without memory
        network = _published(architecture, 1)
        ours = nn.Sequential(OrderedDict(_units(architecture, network)))
    units = {id(tensor): name for name, tensor in ours.state_dict(keep_vars=True).items()}
    names = {name: units[id(tensor)] for name, tensor in network.state_dict(keep_vars=True).items()}
    today = {name: re.sub(r"(denselayer\d+\.(?:norm|conv))\.([12])\.", r"\1\2.", name) for name in weights}
    return {names.get(today[name], today[name]): tensor for name, tensor in weights.items()}
