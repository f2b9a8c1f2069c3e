"""Networks as a chain of units, so that one number, `blocks`, cuts them into a frozen part and a trained part.

A network takes images in [0, 1]; its first unit normalises them with the mean and std that belong to its weights.
"""

import re
from collections import OrderedDict
from itertools import chain

import torch
from torch import Tensor, nn

from stages.lib.choice import module_of
from stages.lib.errors import RunError
from stages.lib.networks.families.table import FAMILIES


class Normalise(nn.Module):
    """Normalisation of images, (x - mean) / std per channel; mean and std are stored with the weights."""

    def __init__(self, mean: list[float], std: list[float]):
        super().__init__()
        self.register_buffer("mean", torch.tensor(mean).view(1, -1, 1, 1))
        self.register_buffer("std", torch.tensor(std).view(1, -1, 1, 1))

    def forward(self, x: Tensor) -> Tensor:  # [batch, C, H, W] in [0, 1]
        return (x - self.mean) / self.std


def build(architecture: str, num_classes: int, mean: list[float], std: list[float]) -> nn.Sequential:
    """A network with random weights, as a chain of named units whose last one is the head.

    Args:
        architecture: a key of `FAMILIES`.
        num_classes: outputs of the head.
        mean, std: of the images, per channel, in [0, 1] units.

    Returns:
        units `normalise` (by these mean and std, if the family has no normalisation of its own), `stem`, one per block (`layer4_2`),
        `pool`, `dropout` where the architecture has one, `head`.
    """
    family = module_of(FAMILIES, architecture, "architecture")
    units = family.units(family.published(architecture, num_classes))
    return nn.Sequential(OrderedDict({"normalise": Normalise(mean, std)} | units))


def normalise_by(network: nn.Sequential, mean: list[float], std: list[float]) -> None:
    """From here on, normalise images by this mean and std; a network that standardises each image by its own pixels goes on doing so."""
    if isinstance(network.normalise, Normalise):
        network.normalise = Normalise(mean, std).to(network.normalise.mean.device)


def split(network: nn.Sequential, blocks: int) -> tuple[nn.Sequential, nn.Sequential]:
    """Cut before the last `blocks` blocks: (frozen, trained), both sharing the network's weights.

    `blocks: 0` trains the head alone, as in Utrera et al. (2021, A.3); the pooling then belongs to the frozen part, which gives
    one vector an image.

    Raises:
        ValueError: when the network has fewer blocks.
    """
    units = list(network.named_children())
    blocks_at = [i for i, (name, _) in enumerate(units) if name not in ("normalise", "stem", "pool", "dropout", "head")]
    if not 0 <= blocks <= len(blocks_at):
        raise ValueError(f"blocks is {blocks}; this network allows 0 to {len(blocks_at)}")
    head_at = next(i for i, (name, _) in enumerate(units) if name in ("dropout", "head"))
    cut = blocks_at[-blocks] if blocks else head_at
    return nn.Sequential(OrderedDict(units[:cut])), nn.Sequential(OrderedDict(units[cut:]))


def pieces(network: nn.Sequential) -> list[list[str]]:
    """Names of the units from the head downwards, as they are retrained one after the other (Shafahi et al. 2020, Figure 2).

    The head; the last batch norm, where it stands by itself; each block; the stem goes with the block that follows it. The wide
    residual network w32-10 of Madry et al. has 17.
    """
    weighted = [name for name, unit in network.named_children() if name != "normalise" and any(True for _ in unit.parameters())]
    if weighted[0] != "stem":  # as in VGG, whose first block sees the image
        return [[name] for name in reversed(weighted)]
    stem, first, *rest = weighted
    return [*([name] for name in reversed(rest)), [first, stem]]


def last_pieces(network: nn.Sequential, k: int | str) -> list[str]:
    """Names of the units of the last k pieces, or of all pieces where k is `all`."""
    downwards = pieces(network)
    return list(chain.from_iterable(downwards[: len(downwards) if k == "all" else k]))


def load(network: nn.Sequential, weights: dict[str, Tensor], but: str = "") -> None:
    """Put weights into a network; each must be there and fit, but those whose name starts with `but`, which stay as they are.

    Files from before torch 0.4.1, like some of torchvision's, do not count the batches of a batch norm: the network's own
    count then stays, which no result depends on.

    Raises:
        RunError: names what is missing, too many, of another shape, or integers in the place of numbers with a fraction.
    """
    wanted = {name: tensor for name, tensor in network.state_dict().items() if not but or not name.startswith(but)}
    missing = sorted(name for name in wanted.keys() - weights.keys() if not name.endswith(".num_batches_tracked"))
    unknown = sorted(weights.keys() - wanted.keys())
    misshapen = [n for n in wanted.keys() & weights.keys() if wanted[n].shape != weights[n].shape]
    integers = [n for n in wanted.keys() & weights.keys() if wanted[n].is_floating_point() and not weights[n].is_floating_point()]
    problems = {"missing": missing, "of no place in the network": unknown, "of another shape": misshapen, "integers": integers}
    for problem, names in problems.items():
        if names:
            raise RunError(f"weights do not fit the architecture: {len(names)} {problem}, as {min(names)}")
    network.load_state_dict(network.state_dict() | weights)


def with_unit_names(architecture: str, weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """Weights under the names of the units; those of torchvision (`layer4.2.conv1.weight`) are translated.

    Its published DenseNets have names from before a module's could hold no dot: `denselayer1.norm.1.weight`, now `norm1`.
    """
    family = module_of(FAMILIES, architecture, "architecture")
    with torch.device("meta"):  # names without memory
        network = family.published(architecture, 1)
        ours = nn.Sequential(OrderedDict(family.units(network)))
    units = {id(tensor): name for name, tensor in ours.state_dict(keep_vars=True).items()}
    names = {name: units[id(tensor)] for name, tensor in network.state_dict(keep_vars=True).items()}
    today = {name: re.sub(r"(denselayer\d+\.(?:norm|conv))\.([12])\.", r"\1\2.", name) for name in weights}
    return {names.get(today[name], today[name]): tensor for name, tensor in weights.items()}
