"""Where a network of timm can be cut: its groups of layers, read off one pass of images without numbers.

Each module whose weights belong to one group is noted with what it takes and gives. The network is a sequence where each of them, from the
first block on, takes what the one before it gave. Its units are then tried out.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any

import torch
from timm.models import group_parameters
from torch import Tensor, nn

from stages.lib.errors import RunError
from stages.lib.networks.layers.chains import chain
from stages.lib.networks.timm.networks import network as build
from stages.lib.networks.timm.units import LATE_TOKENS, Cut, units


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
    groups = _groups(architecture, network)
    atoms = dict(_atoms(network, groups))
    try:
        calls, given = _calls(network, atoms, images)
    except Exception as error:  # whatever timm, or torch within it, says of these images
        said = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
        raise RunError(f"network {architecture} takes no images of {network.image_size} x {network.image_size} pixels ({said})") from None
    reader = _Reader(architecture, network, groups, atoms)
    cut = reader.cut(calls, given)
    reader.try_out(chain(units(network, cut)), images)
    return cut


def _groups(architecture: str, network: nn.Module) -> dict[str, int]:
    """The number of the group that each weight belongs to, by its name; raises RunError where timm has none for a weight, or for any."""
    no = f"network {architecture} cannot be cut into a sequence of its groups of layers: timm has"
    if not hasattr(network, "group_matcher"):
        raise RunError(f"{no} none for it")
    groups = group_parameters(network, network.group_matcher(coarse=False), reverse=True)
    if lost := next((name for name, _ in network.named_parameters(remove_duplicate=False) if name not in groups), None):
        raise RunError(f"{no} {lost} in none of them")
    return groups


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
