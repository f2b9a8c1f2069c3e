"""Several networks of one shape as a single one, with their channels side by side: one large product where there were many small.

Convolutions become the groups of one convolution, one batch norm has the channels of all networks, and heads are one batched
product. The weights and statistics of a network become views of the stack's: to train the stack is to train all networks.
"""

import copy
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn


class StackedLinear(nn.Module):
    """A linear layer of each network, on its own features."""

    def __init__(self, networks: int, features_in: int, features_out: int, device: torch.device | str):
        super().__init__()
        self.weight = nn.Parameter(torch.empty(networks, features_out, features_in, device=device))
        self.bias = nn.Parameter(torch.empty(networks, features_out, device=device))

    def forward(self, x: Tensor) -> Tensor:  # [batch, networks * in] -> [batch, networks * out]
        per_network = x.unflatten(1, (len(self.weight), -1)).transpose(0, 1)
        return torch.baddbmm(self.bias[:, None], per_network, self.weight.mT).transpose(0, 1).flatten(1)


def stack(networks: Sequence[nn.Module]) -> nn.Module:
    """One network that computes what all of them compute, and shares its weights and statistics with them.

    Args:
        networks: of one shape, without dropout, whose channels keep their order (residual networks, and heads alone).

    Returns:
        a network from [batch, networks * C, ...], the inputs of the networks along the channels, to their outputs in the same way;
        for a single network, this network.

    Raises:
        TypeError: names a module that cannot be stacked.
    """
    if len(networks) == 1:
        return networks[0]
    stacked = copy.deepcopy(networks[0])
    for name, module in networks[0].named_modules():
        if type(module) in _STACKED:
            modules = [network.get_submodule(name) for network in networks]
            together = _STACKED[type(module)](modules).train(module.training)
            if not name:
                return together
            stacked.set_submodule(name, together)
        elif not _keeps_channels(module):
            raise TypeError(f"{name}: {type(module).__name__} cannot be stacked")
    return stacked


def _keeps_channels(module: nn.Module) -> bool:
    """Whether a module treats every channel alike and draws nothing at random; residual blocks only add up their modules' outputs."""
    alike = (nn.Sequential, nn.Identity, nn.ReLU, nn.MaxPool2d, nn.AdaptiveAvgPool2d, nn.Flatten)
    return type(module) in alike or type(module).__name__ in (
        "BasicBlock",
        "PreactBlock",
        "Bottleneck",
        "AfterNorm",
    )  # ours and torchvision's


def _conv(modules: list[nn.Conv2d]) -> nn.Conv2d:
    first, n = modules[0], len(modules)
    stacked = nn.Conv2d(
        n * first.in_channels, n * first.out_channels, first.kernel_size, first.stride, first.padding, first.dilation,
        n * first.groups, first.bias is not None, first.padding_mode, device="meta",
    )  # fmt: skip
    return _share(stacked, modules, torch.cat)


def _batchnorm(modules: list[nn.BatchNorm2d]) -> nn.BatchNorm2d:
    first = modules[0]
    stacked = nn.BatchNorm2d(
        len(modules) * first.num_features, first.eps, first.momentum, first.affine, first.track_running_stats, device="meta"
    )
    return _share(stacked, modules, torch.cat)


def _linear(modules: list[nn.Linear]) -> StackedLinear:
    return _share(StackedLinear(len(modules), modules[0].in_features, modules[0].out_features, device="meta"), modules, torch.stack)


def _share(stacked: nn.Module, modules: list[nn.Module], join: Callable[[list[Tensor]], Tensor]) -> nn.Module:
    """Give the stack the tensors of the modules, joined along the first axis, and each module a view of its own ones."""
    for name, _ in list(stacked.named_parameters()):
        joined = join([getattr(module, name).detach() for module in modules])
        setattr(stacked, name, nn.Parameter(joined, requires_grad=getattr(modules[0], name).requires_grad))
        for module, view in zip(modules, joined.view(len(modules), *getattr(modules[0], name).shape), strict=True):
            setattr(module, name, nn.Parameter(view, requires_grad=getattr(stacked, name).requires_grad))
    for name, first in list(modules[0].named_buffers()):
        counts = first.dim() == 0  # the number of batches, which all networks have in common
        joined = first if counts else join([getattr(module, name) for module in modules])
        setattr(stacked, name, joined)
        for module, view in zip(modules, [first] * len(modules) if counts else joined.view(len(modules), *first.shape), strict=True):
            setattr(module, name, view)
    return stacked


_STACKED: dict[type[nn.Module], Callable[[list], nn.Module]] = {
    nn.Conv2d: _conv,
    nn.BatchNorm2d: _batchnorm,
    nn.Linear: _linear,
}
