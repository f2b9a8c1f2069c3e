"""A network for attacks: each batch norm that follows a convolution is part of it, which saves passes over memory, forth and back.

In eval mode a batch norm is a factor and a shift of each channel, so that weights and bias of the convolution can hold them.
"""

import copy
from itertools import pairwise

from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

FOLLOWED_BY = {
    "BasicBlock": {"conv1": "bn1", "conv2": "bn2"},
    "Bottleneck": {"conv1": "bn1", "conv2": "bn2", "conv3": "bn3"},
    "PreactBlock": {"conv1": "bn2"},
    "PaddedBlock": {"conv1": "bn2"},
    "_DenseLayer": {"conv1": "norm2"},
}
"""In blocks of ours and of torchvision, by the name of their class: convolutions whose output goes to a batch norm, and nowhere else."""


def folded(network: nn.Module) -> nn.Module:
    """A copy in eval mode that computes what the network computes in eval mode, up to rounding.

    Batch norms that stand elsewhere, or that take the statistics of each batch in eval mode, too, stay as they are.
    """
    copied = copy.deepcopy(network).eval()
    for module in list(copied.modules()):
        for convolution, norm in _pairs(module):
            if _can_be_one(module.get_submodule(convolution), module.get_submodule(norm)):
                module.set_submodule(convolution, fuse_conv_bn_eval(module.get_submodule(convolution), module.get_submodule(norm)))
                module.set_submodule(norm, nn.Identity())
    return copied


def _pairs(module: nn.Module) -> list[tuple[str, str]]:
    """Names of children of which the second one alone takes what the first one gives."""
    if isinstance(module, nn.Sequential) and type(module).forward is nn.Sequential.forward:
        return list(pairwise(name for name, _ in module.named_children()))
    return list(FOLLOWED_BY.get(type(module).__name__, {}).items())


def _can_be_one(convolution: nn.Module, norm: nn.Module) -> bool:
    return type(convolution) is nn.Conv2d and type(norm) is nn.BatchNorm2d and norm.running_mean is not None
