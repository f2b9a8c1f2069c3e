"""A network of timm as a sequence of units: its stem, its groups of layers one after the other, its pooling, its last linear layer.

What happens before the first block, such as class tokens and position embeddings, is the network's own code on a copy without the blocks;
what happens after the last one, its own `forward_head`. No weight is copied.
"""

import copy
import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

from stages.lib.networks.layers.chains import chain


class ClassToken(nn.Module):
    """Puts a class token before the tokens of the image, [batch, tokens, C]."""

    def __init__(self, cls_token: nn.Parameter):
        super().__init__()
        self.cls_token = cls_token

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([self.cls_token.expand(len(x), -1, -1), x], 1)


LATE_TOKENS = {"Xcit": "cls_attn_blocks"}  # where blocks follow whose first one is given the class token as well


@dataclass(frozen=True)
class Cut:
    """How an architecture falls into units; paths of modules, in the order in which an image goes through them."""

    blocks: tuple[tuple[str, ...], ...]
    tail: tuple[str, ...]  # of the head's group, between the last block and the pooling
    before: frozenset[str]  # of the stem
    unused: frozenset[str]  # with weights, which `forward_features` does not call: those of the head
    on_a_grid: frozenset[str]  # that are told how many tokens are side by side, and one below the other
    head: str


def units(network: nn.Module, cut: Cut) -> dict[str, nn.Module]:
    """The units of a network that `timm_networks.network` has built."""
    late = LATE_TOKENS.get(type(network).__name__)
    inner = {*(path for paths in cut.blocks for path in paths), *cut.tail}
    stem = _without(network, inner | cut.unused, late)
    stem._parameters = {name: tensor for name, tensor in stem._parameters.items() if not (late and name == "cls_token")}
    made = {"stem": Stem(stem, network.image_size)}
    for paths in cut.blocks:
        modules = {path.replace(".", "_"): _told(network.get_submodule(path), path in cut.on_a_grid) for path in paths}
        if late and paths[0] == f"{late}.0":
            modules = {"token": ClassToken(network.cls_token)} | modules
        made[paths[0].replace(".", "_")] = chain(modules) if len(modules) > 1 else next(iter(modules.values()))
    pool = _without(network, inner | cut.before | {cut.head})
    pool._parameters, pool._buffers = {}, {}
    tail = {path.replace(".", "_"): network.get_submodule(path) for path in cut.tail}
    return made | {"pool": chain(tail | {"head": Pool(pool)}), "head": network.get_submodule(cut.head)}


class Stem(nn.Module):
    """What a network does before its first block; images of another size are first brought to the one that it takes."""

    def __init__(self, body: nn.Module, image_size: int):
        super().__init__()
        self.body, self.image_size = body, image_size

    def forward(self, x: Tensor) -> Tensor:  # [batch, 3, H, H], normalised
        if x.shape[-1] != self.image_size:
            x = interpolate(x, (self.image_size, self.image_size), mode="bilinear", align_corners=False, antialias=True)
        return self.body.forward_features(x)


class Pool(nn.Module):
    """What a network does between its last block and its last linear layer."""

    def __init__(self, body: nn.Module):
        super().__init__()
        self.body = body

    def forward(self, x: Tensor) -> Tensor:  # to [batch, width]
        return self.body.forward_head(x, pre_logits=True)


class OnGrid(nn.Module):
    """A block of tokens, [batch, tokens, C], which is also told the sides of the square that they are of."""

    def __init__(self, block: nn.Module):
        super().__init__()
        self.block = block

    def forward(self, x: Tensor) -> Tensor:
        side = math.isqrt(x.shape[1])
        return self.block(x, side, side)


def _told(module: nn.Module, on_a_grid: bool) -> nn.Module:
    return OnGrid(module) if on_a_grid else module


def _without(module: nn.Module, dropped: set[str], absent: str | None = None, path: str = "") -> nn.Module:
    """A copy in which modules do nothing, by their paths, and that shares all others; lists of them are empty, and `absent` is None."""
    if path in dropped:
        return nn.Identity()
    below = {name for name in dropped if name.startswith(f"{path}.") or not path}
    if not below:
        return module
    if isinstance(module, nn.Sequential | nn.ModuleList) and all(f"{path}.{name}" in dropped for name, _ in module.named_children()):
        return type(module)()
    shared = copy.copy(module)
    shared._modules = {
        name: child and (None if name == absent else _without(child, below, None, f"{path}.{name}".lstrip(".")))
        for name, child in module._modules.items()
    }
    return shared
