"""Networks as a chain of units, so that one number, `blocks`, cuts them into a frozen part and a trained part.

A network takes images in [0, 1]; its first unit normalises them with the mean and std that belong to its weights.
"""

from collections import OrderedDict
from itertools import chain

import torch
from torch import Tensor, nn

from stages.lib.architectures import RESIDUAL_BLOCKS
from stages.lib.errors import RunError


class Normalise(nn.Module):
    """(x - mean) / std per channel; both are stored with the weights."""

    def __init__(self, mean: list[float], std: list[float]):
        super().__init__()
        self.register_buffer("mean", torch.tensor(mean).view(1, -1, 1, 1))
        self.register_buffer("std", torch.tensor(std).view(1, -1, 1, 1))

    def forward(self, x: Tensor) -> Tensor:  # [batch, C, H, W] in [0, 1]
        return (x - self.mean) / self.std


class BasicBlock(nn.Module):
    """Two 3 x 3 convolutions and a shortcut, a 1 x 1 convolution where the shape changes (He et al. 2016)."""

    def __init__(self, width_in: int, width: int, stride: int = 1):
        super().__init__()
        self.conv1 = nn.Conv2d(width_in, width, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = nn.Identity()
        if stride != 1 or width_in != width:
            self.downsample = nn.Sequential(nn.Conv2d(width_in, width, 1, stride, bias=False), nn.BatchNorm2d(width))

    def forward(self, x: Tensor) -> Tensor:
        out = self.relu(self.bn1(self.conv1(x)))
        return self.relu(self.bn2(self.conv2(out)) + self.downsample(x))


class SmallResNet(nn.Module):
    """Three stages of three basic blocks, width 16, 32 and 64, after a stem of stride 2: 0.27 M weights.

    ResNet-20 of He et al. (2016, Section 4.2) but for the stem's stride, which makes it four times cheaper on a CPU.
    """

    def __init__(self, num_classes: int):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 16, 3, stride=2, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        self.relu = nn.ReLU(inplace=True)
        self.layer1 = self._stage(16, 16, stride=1)
        self.layer2 = self._stage(16, 32, stride=2)
        self.layer3 = self._stage(32, 64, stride=2)
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(64, num_classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    @staticmethod
    def _stage(width_in: int, width: int, stride: int) -> nn.Sequential:
        return nn.Sequential(BasicBlock(width_in, width, stride), BasicBlock(width, width), BasicBlock(width, width))


def build(architecture: str, num_classes: int, mean: list[float], std: list[float]) -> nn.Sequential:
    """A network with random weights, as a chain of named units whose last one is the head.

    Args:
        architecture: a key of `RESIDUAL_BLOCKS`: the embedded `small_resnet`, or a ResNet of torchvision.
        num_classes: outputs of the head.
        mean, std: of the images, per channel, in [0, 1] units.

    Returns:
        units `normalise`, `stem`, one per residual block under its name in torchvision (`layer4.2`), `pool`, `head`.
    """
    if architecture not in RESIDUAL_BLOCKS:
        raise ValueError(f"architecture is {architecture!r}; allowed: {', '.join(RESIDUAL_BLOCKS)}")
    if architecture == "small_resnet":
        network = SmallResNet(num_classes)
    else:
        import torchvision  # here, as it takes two seconds to import, and the small network needs none of it

        network = torchvision.models.get_model(architecture, weights=None, num_classes=num_classes)
    units = OrderedDict(normalise=Normalise(mean, std))
    children = OrderedDict(network.named_children())
    units["stem"] = nn.Sequential(OrderedDict((k, m) for k, m in children.items() if k in ("conv1", "bn1", "relu", "maxpool")))
    for stage, module in children.items():
        if stage.startswith("layer"):
            units |= {f"{stage}_{i}": block for i, block in enumerate(module)}
    units["pool"] = nn.Sequential(children["avgpool"], nn.Flatten(1))
    units["head"] = children["fc"]
    return nn.Sequential(units)


def device_of(network: nn.Module) -> torch.device:
    return next(chain(network.parameters(), network.buffers())).device


def split(network: nn.Sequential, blocks: int) -> tuple[nn.Sequential, nn.Sequential]:
    """Cut before the last `blocks` residual blocks: (frozen, trained), both sharing the network's weights.

    `blocks: 0` trains the head alone, as in Utrera et al. (2021, A.3); the pooling then belongs to the frozen part, so
    that what it passes on is one vector an image.

    Raises:
        ValueError: when the network has fewer residual blocks.
    """
    units = list(network.named_children())
    residual = [i for i, (name, _) in enumerate(units) if name.startswith("layer")]
    if not 0 <= blocks <= len(residual):
        raise ValueError(f"blocks is {blocks}; this network allows 0 to {len(residual)}")
    cut = residual[-blocks] if blocks else len(units) - 1
    return nn.Sequential(OrderedDict(units[:cut])), nn.Sequential(OrderedDict(units[cut:]))


def load(network: nn.Sequential, weights: dict[str, Tensor], but: str = "") -> None:
    """Put weights into a network; every one must be there and fit, but for those whose name starts with `but`.

    Raises:
        RunError: names what is missing, too many, or of another shape.
    """
    wanted = {name: tensor for name, tensor in network.state_dict().items() if not but or not name.startswith(but)}
    missing, unknown = sorted(wanted.keys() - weights.keys()), sorted(weights.keys() - wanted.keys())
    misshapen = [n for n in wanted.keys() & weights.keys() if wanted[n].shape != weights[n].shape]
    for problem, names in (("missing", missing), ("of no place in the network", unknown), ("of another shape", sorted(misshapen))):
        if names:
            raise RunError(f"weights do not fit the architecture: {len(names)} {problem}, as {names[0]}")
    network.load_state_dict(network.state_dict() | weights)


def with_unit_names(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """Weights under the names of the units; those of torchvision's ResNets are translated (`layer4.2.` to `layer4_2.`)."""
    named = {}
    for name, tensor in weights.items():
        first, _, rest = name.partition(".")
        if first in ("conv1", "bn1"):
            named[f"stem.{name}"] = tensor
        elif first == "fc":
            named[f"head.{rest}"] = tensor
        elif first.startswith("layer") and "_" not in first:
            named[f"{first}_{rest}"] = tensor
        else:
            named[name] = tensor
    return named
