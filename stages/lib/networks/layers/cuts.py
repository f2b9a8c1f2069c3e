"""What of a network is trained besides the head: its last blocks, its last batch norm, all its batch norms, or every weight.

The last three are the modes 0, 1 and 2 of Terzi et al. (2021, Appendix C).
"""

from collections import OrderedDict

import torch
from torch import Tensor, nn

from stages.lib.networks import units

RESIDUAL = ("BasicBlock", "Bottleneck")  # ours and torchvision's: convolutions with a batch norm each, and a shortcut that is added


def cut(network: nn.Sequential, blocks: int | str) -> tuple[nn.Sequential | None, nn.Sequential]:
    """The frozen part, or None, and the trained part of a network; both share its weights, and name them as the network does.

    Args:
        blocks: a number of blocks; `last_norm`: scale and shift of the batch norm that stands last before the head; `norms`: those of all
            batch norms; `all`: everything. With `norms`, all images pass the whole network, whose other weights take no gradient.

    Raises:
        ValueError: when the network has fewer blocks, or no batch norm that can be trained so.
    """
    if blocks == "last_norm":
        return _at_last_norm(network)
    if blocks == "norms":
        return None, _with_norms_alone(network)
    return (None, network) if blocks == "all" else units.split(network, int(blocks))


def _with_norms_alone(network: nn.Sequential) -> nn.Sequential:
    """The network, of which batch norms and the head take gradients."""
    norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
    if not norms:
        raise ValueError("blocks is norms; this network has no batch norm")
    network.requires_grad_(False)
    for module in (*norms, network.head):
        module.requires_grad_(True)
    return network


def _at_last_norm(network: nn.Sequential) -> tuple[nn.Sequential, nn.Sequential]:
    """Cut before the last batch norm, which may stand within a unit."""
    named = list(network.named_children())
    place = max((i for i, (_, unit) in enumerate(named) if _holds_norm(unit)), default=None)
    if place is None or any(name not in ("pool", "dropout", "head") for name, _ in named[place + 1 :]):
        raise ValueError("blocks is last_norm; this network has no batch norm as its last layer with weights before the head")
    name, unit = named[place]
    before, after = _cut_block(unit) if type(unit).__name__ in RESIDUAL else _cut_chain(unit)
    frozen = named[:place] + ([(name, before)] if before is not None else [])
    return nn.Sequential(OrderedDict(frozen)), nn.Sequential(OrderedDict([(name, after), *named[place + 1 :]]))


def _holds_norm(unit: nn.Module) -> bool:
    return any(isinstance(module, nn.BatchNorm2d) for module in unit.modules())


def _cut_chain(unit: nn.Module) -> tuple[nn.Sequential | None, nn.Sequential]:
    """Of modules in a row, those before the last batch norm, or None, and the others."""
    named = list(unit.named_children())
    place = max((i for i, (_, module) in enumerate(named) if isinstance(module, nn.BatchNorm2d)), default=None)
    if place is None or not isinstance(unit, nn.Sequential):
        raise ValueError("blocks is last_norm; this network has its last batch norm within a unit that cannot be cut")
    return nn.Sequential(OrderedDict(named[:place])) if place else None, nn.Sequential(OrderedDict(named[place:]))


def _cut_block(block: nn.Module) -> tuple["BeforeNorm", "AfterNorm"]:
    """A residual block, before and after the batch norm of its last convolution."""
    count = sum(name.startswith("conv") for name, _ in block.named_children())
    return BeforeNorm(block, count), AfterNorm(f"bn{count}", block.get_submodule(f"bn{count}"))


class BeforeNorm(nn.Module):
    """A residual block up to its last batch norm: [batch, C_in, H, W] to the norm's input and the shortcut, [batch, 2 C, h, w]."""

    def __init__(self, block: nn.Module, count: int):
        super().__init__()
        self.count = count
        for name, module in block.named_children():  # under the names of the block
            if name not in (f"bn{count}", "relu"):
                self.add_module(name, module)

    def forward(self, x: Tensor) -> Tensor:
        modules, out = dict(self.named_children()), x
        for i in range(1, self.count):
            out = torch.relu(modules[f"bn{i}"](modules[f"conv{i}"](out)))
        shortcut = modules.get("downsample") or modules.get("shortcut") or nn.Identity()
        return torch.cat([modules[f"conv{self.count}"](out), shortcut(x)], 1)


class AfterNorm(nn.Module):
    """A residual block from its last batch norm on: [batch, 2 C, h, w], as `BeforeNorm` gives it, to the block's output.

    Of several networks that are stacked, inputs stand one after the other along the channels, and so do outputs.
    """

    def __init__(self, name: str, norm: nn.BatchNorm2d):
        super().__init__()
        self.channels, self.name = norm.num_features, name  # channels of one network
        self.add_module(name, norm)  # so that its weights are named as in the block
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        before, shortcut = x.unflatten(1, (-1, 2, self.channels)).unbind(2)
        return self.relu(self.get_submodule(self.name)(before.flatten(1, 2)) + shortcut.flatten(1, 2))
