"""Networks of the timm library by our names, `timm/<its name>[+convstem][,depth=<n>][@<pixels>]`, and published weights by its names."""

import difflib
import inspect
import re
import sys
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import timm
import torch
from timm.layers import DropPath
from torch import Tensor, nn

from stages.lib.errors import RunError
from stages.lib.networks.timm.convstem import with_convstem

SAME = 1e-3  # of the largest logit: what rounding makes of the same sums in another order
OF_BATCHNORM = ("running_mean", "running_var", "num_batches_tracked")  # buffers that are learnt
NAME = re.compile(r"timm/(?P<network>\w+(\.\w+)?)(?P<stem>\+convstem)?(,depth=(?P<depth>\d+))?(@(?P<size>\d+))?")


@dataclass(frozen=True)
class Asked:
    """What a name asks for."""

    network: str  # timm's name, with the tag of its weights behind a dot or without
    convstem: bool
    depth: int | None  # blocks of a network that has its blocks in one row; None: timm's
    size: int | None  # pixels a side; None: those of timm's configuration


def asked_by(architecture: str) -> Asked:
    """Raises RunError for a name of another form."""
    found = NAME.fullmatch(architecture)
    if found is None:
        raise RunError(f"network is {architecture!r}; allowed: timm/<name of the library>, and behind it +convstem, ,depth=<n>, @<pixels>")
    depth, size = (found[name] and int(found[name]) for name in ("depth", "size"))
    return Asked(found["network"], bool(found["stem"]), depth, size)


@lru_cache
def configuration(name: str) -> Any:
    """What timm says of a network: mean, std, input size, number of classes; of its first weights, where the name has no tag.

    Raises:
        RunError: names networks, or tags, that are alike.
    """
    network, _, tag = name.partition(".")
    if not timm.is_model(network):
        raise RunError(f"network is {name!r}; allowed: a network of timm {timm.__version__}{_such_as(network, timm.list_models())}")
    tags = timm.list_pretrained(f"{network}.*") if tag else []
    if tag and name not in tags:
        raise RunError(f"network is {name!r}; allowed: {network}, or with the tag of its weights{_such_as(name, tags)}")
    return timm.get_pretrained_cfg(name)


def _such_as(name: str, names: list[str]) -> str:
    alike = difflib.get_close_matches(name, names, 3, 0.4)
    return f", such as {', '.join(alike)}" if alike else ""


def network(architecture: str, num_classes: int) -> nn.Module:
    """The network with random weights, without dropout and stochastic depth; it knows its `architecture` and its `image_size`.

    Raises:
        RunError: for a name or a size that timm does not have.
    """
    asked = asked_by(architecture)
    own = configuration(asked.network).input_size[-1]
    size = asked.size or own
    how = {} if size == own else _at_another_size(asked.network, size)
    how |= {"depth": asked.depth} if asked.depth else {}
    try:
        built = timm.create_model(asked.network, num_classes=num_classes, **how)
    except (AssertionError, ValueError, RuntimeError, TypeError, ZeroDivisionError) as error:
        raise RunError(f"network {asked.network} cannot be built for images of {size} pixels: {' '.join(str(error).split())}") from None
    built = with_convstem(built, asked.network) if asked.convstem else built
    built.architecture, built.image_size = architecture, size
    for module in built.modules():
        if isinstance(module, DropPath):
            module.drop_prob = 0.0
        elif isinstance(module, nn.Dropout):
            module.p = 0.0
        module._non_persistent_buffers_set.clear()  # as all buffers of a fine-tuned network are kept, they need a place in it
    return built


@lru_cache
def _at_another_size(name: str, size: int) -> dict[str, Any]:
    """What makes a network take images of another size: position embeddings that follow the size, else a size; nothing for convolutions."""
    with torch.device("meta"):
        kind = type(timm.create_model(name))
    taken = {parameter for each in kind.__mro__ if each is not nn.Module for parameter in inspect.signature(each.__init__).parameters}
    if "dynamic_img_size" in taken:
        return {"dynamic_img_size": True}
    return {"img_size": size} if "img_size" in taken else {}


def as_timm_names(architecture: str, num_classes: int, weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """Published weights under the names that timm has for them today, by its own translation of what authors published.

    What timm computes from the size of the images comes with them. A network that was published without a head gets one of zeros.
    """
    built = network(architecture, num_classes)
    translate = getattr(sys.modules[type(built).__module__], "checkpoint_filter_fn", None)
    translated = translate(dict(weights), built) if translate else dict(weights)
    computed = {name for name, _ in built.named_buffers() if not name.endswith(OF_BATCHNORM)}
    translated |= {name: tensor for name, tensor in built.state_dict().items() if name in computed - translated.keys()}
    if configuration(asked_by(architecture).network).num_classes == 0:
        head = built.get_classifier()
        path = next(path for path, module in built.named_modules() if module is head)
        translated |= {f"{path}.{name}": torch.zeros(tensor.shape) for name, tensor in head.named_parameters()}
    return translated


@torch.no_grad()
def check(units: nn.Sequential, architecture: str, num_classes: int, weights: dict[str, Tensor]) -> None:
    """Raises RunError unless units compute what timm's network computes with these weights, of two random images.

    Where the head is of zeros, what it is given is compared in the place of logits.

    Args:
        weights: those of the units, under timm's names.
    """
    theirs = network(architecture, num_classes)
    theirs.load_state_dict(theirs.state_dict() | weights)
    x = torch.rand(2, 3, theirs.image_size, theirs.image_size, generator=torch.Generator().manual_seed(0))
    theirs.eval(), units.eval()
    if units.head.weight.any():
        expected, found = theirs(units.normalise(x)), units(x)
    else:
        expected, found = theirs.forward_head(theirs.forward_features(units.normalise(x)), pre_logits=True), units[:-1](x)
    error, scale = (expected - found).abs().max().item(), expected.abs().max().item()
    if not error <= SAME * scale:
        raise RunError(f"its units give other logits than timm {timm.__version__} (up to {error:.2g} of {scale:.2g})")
