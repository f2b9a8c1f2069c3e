"""A network of timm as a sequence of units: its stem, its groups of layers one after the other, its pooling, its last linear layer.

A network whose layers all have one form is passed through once, without numbers: each module whose weights belong to one group is noted
with what it takes and gives. The network is a sequence where each of them, from the first block on, takes what the one before it gave.
What happens before the first block, such as class tokens and position embeddings, is the network's own code on a copy without the blocks;
what happens after the last one, its own `forward_head`. No weight is copied.
"""

import copy
import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any

import torch
from timm.models import group_parameters
from torch import Tensor, nn
from torch.nn.functional import interpolate

from stages.lib.errors import RunError
from stages.lib.networks.layers.chains import chain
from stages.lib.networks.layers.timm_networks import network as build


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


def units(network: nn.Module) -> dict[str, nn.Module]:
    """The units of a network that `timm_networks.network` has built."""
    return _units(network, cut_of(network.architecture))


def _units(network: nn.Module, cut: Cut) -> dict[str, nn.Module]:
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


@lru_cache
@torch.no_grad()
def cut_of(architecture: str) -> Cut:
    """How an architecture falls into units.

    Raises:
        RunError: names what keeps its groups of layers from being a sequence, or a size of images that it does not take.
    """
    with torch.device("meta"):  # shapes without memory
        network = build(architecture, 2).eval()
        images = torch.zeros(1, 3, network.image_size, network.image_size)
    try:
        groups = group_parameters(network, network.group_matcher(coarse=False), reverse=True)
        atoms = dict(_atoms(network, groups))
    except (AttributeError, KeyError, AssertionError, NotImplementedError):
        raise RunError(f"network {architecture} cannot be cut into a sequence of its groups of layers: timm has none for it") from None
    try:
        calls, given = _calls(network, atoms, images)
    except Exception as error:  # whatever timm, or torch within it, says of these images
        said = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
        raise RunError(f"network {architecture} takes no images of {network.image_size} x {network.image_size} pixels ({said})") from None
    reader = _Reader(architecture, network, groups, atoms)
    cut = reader.cut(calls, given)
    reader.try_out(chain(_units(network, cut)), images)
    return cut


@dataclass(frozen=True)
class Call:
    """One pass through a module."""

    path: str
    arguments: tuple
    output: Any


def _atoms(module: nn.Module, groups: dict[str, int], path: str = "") -> Iterator[tuple[str, set[int]]]:
    """Paths of the largest modules whose weights belong to one group or that have none, and their groups."""
    for name, child in module.named_children():
        place = f"{path}.{name}".lstrip(".")
        own = {groups[f"{place}.{parameter}"] for parameter, _ in child.named_parameters()}
        if len(own) <= 1 and not isinstance(child, nn.ModuleList):  # which is passed through one by one
            yield place, own
        else:
            yield from _atoms(child, groups, place)


def _calls(network: nn.Module, atoms: dict[str, set[int]], images: Tensor) -> tuple[list[Call], Any]:
    """The passes through the atoms, in their order, while the network makes features of images; and these features."""
    calls: list[Call] = []

    def note(path: str, module: nn.Module, args: tuple, kwargs: dict, output: Any) -> None:
        calls.append(Call(path, (*args, *kwargs.values()), output))

    for path in atoms:
        network.get_submodule(path).register_forward_hook(partial(note, path), with_kwargs=True)
    return calls, network.forward_features(images)


class _Reader:
    """Reads how a network falls into units off the passes through its atoms."""

    def __init__(self, architecture: str, network: nn.Module, groups: dict[str, int], atoms: dict[str, set[int]]):
        self.architecture, self.network, self.atoms = architecture, network, atoms
        self.late = LATE_TOKENS.get(type(network).__name__)
        head = network.get_classifier()
        if not isinstance(head, nn.Linear):
            raise self.no("its last layer is no single linear one")
        self.head = next(path for path, module in network.named_modules() if module is head)
        self.head_group, self.stem_group = groups[f"{self.head}.weight"], min(groups.values())

    def no(self, reason: str) -> RunError:
        return RunError(f"network {self.architecture} cannot be cut into a sequence of its groups of layers: {reason}")

    def cut(self, calls: list[Call], given: Any) -> Cut:
        paths = [call.path for call in calls]
        if repeated := next((path for path in paths if paths.count(path) > 1), None):
            raise self.no(f"{repeated} is passed twice")
        groups = [next(iter(self.atoms[path]), None) for path in paths]
        first = next((i for i, group in enumerate(groups) if group not in (None, self.stem_group)), None)
        if not first:
            raise self.no("it has no blocks behind a stem")
        blocks, tail, current = [], [], None
        for i in range(first, len(calls)):
            self._follows(calls[i - 1], calls[i], begins=i == first)
            group = current if groups[i] is None else groups[i]
            if group == self.head_group:
                tail.append(paths[i])
            elif group == current:
                blocks[-1].append(paths[i])
            elif current is None or group > current:
                blocks.append([paths[i]])
            else:
                raise self.no(f"{paths[i]} stands behind a later group")
            current = group
        if given is not calls[-1].output:
            raise self.no(f"its features are not what {paths[-1]} gives")
        on_a_grid = frozenset(call.path for call in calls[first:] if self._further(call))
        unused = frozenset(path for path, own in self.atoms.items() if own and path not in paths)
        return Cut(tuple(map(tuple, blocks)), tuple(tail), frozenset(paths[:first]), unused, on_a_grid, self.head)

    @torch.enable_grad()
    def try_out(self, units: nn.Sequential, images: Tensor) -> None:
        """Raises RunError unless images pass through the units, one vector each to the head, and each weight has a part in it."""
        names, tensors = zip(*units.named_parameters(), strict=True)
        try:
            vectors = units[:-1](images)
            gradients = torch.autograd.grad(units[-1](vectors).sum(), tensors, allow_unused=True)
        except Exception as error:  # whatever the network's own code says of what it lacks
            raise self.no(" ".join(f"{type(error).__name__}: {error}".split())[:200]) from None
        if vectors.ndim != 2:
            raise self.no(f"its last layer is given {vectors.ndim - 1} dimensions of an image")
        if idle := next((name for name, gradient in zip(names, gradients, strict=True) if gradient is None), None):
            raise self.no(f"the weight {idle} changes no logit")

    def _follows(self, before: Call, call: Call, begins: bool) -> None:
        """Raises RunError unless a module takes what the one before it gave, and nothing else but the sides of its grid."""
        taken = call.arguments[0] if call.arguments else None
        if not isinstance(taken, Tensor) or not isinstance(call.output, Tensor):
            raise self.no(f"{call.path} takes or gives no single tensor")
        if not begins and taken is not before.output and call.path != f"{self.late}.0":
            raise self.no(f"{call.path} does not take what {before.path} gives")
        self._further(call)

    def _further(self, call: Call) -> bool:
        """Whether a module is told the sides of its grid; raises RunError where it is told anything else."""
        taken, *further = call.arguments
        told = [value for value in further if value is not None and value is not False]
        square = taken.ndim == 3 and len(told) == 2 and all(value == math.isqrt(taken.shape[1]) for value in told if isinstance(value, int))
        if told and not (square and all(isinstance(value, int) for value in told) and told[0] * told[1] == taken.shape[1]):
            raise self.no(f"{call.path} takes more than one tensor")
        return bool(told)
