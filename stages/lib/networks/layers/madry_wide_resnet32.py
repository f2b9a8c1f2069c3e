"""The wide residual network of Madry et al. (2018), as their code for CIFAR-10 has it; torchvision does not have it.

It differs from the wide residual network 34-k of Zagoruyko & Komodakis (2016) in what follows: every image is standardised by its own
pixels; ReLUs are leaky, with slope 0.1; where the width grows, the shortcut is a mean over pixels, with channels of zeros on both sides,
and only the first block's shortcut is normalised and activated; batch norm adds 0.001 to the variance.
"""

import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, pad

SLOPE, EPS = 0.1, 1e-3  # of ReLUs below zero; of batch norm


class Standardise(nn.Module):
    """Standardisation of images, (x - mean) / std, with the mean and std of each image over all its pixels and channels.

    The std is at least 1 / sqrt(n) grey values of 255, with n the number of values in an image, as in TensorFlow. The buffers stand
    where another network keeps the mean and std of its data: 0 and 1, as data have no part in it.
    """

    def __init__(self):
        super().__init__()
        self.register_buffer("mean", torch.zeros(1, 3, 1, 1))
        self.register_buffer("std", torch.ones(1, 3, 1, 1))

    def forward(self, x: Tensor) -> Tensor:  # [batch, C, H, W] in [0, 1]
        variance, mean = torch.var_mean(x, (1, 2, 3), correction=0, keepdim=True)
        return (x - mean) / variance.clamp_min(1 / (255**2 * x[0].numel())).sqrt()


class PaddedBlock(nn.Module):
    """Batch norm and leaky ReLU before each of two 3 x 3 convolutions, beside a shortcut without weights.

    Args:
        shared: whether the shortcut begins after the first batch norm and ReLU, as in the first block; else before them.
    """

    def __init__(self, width_in: int, width: int, stride: int, shared: bool):
        super().__init__()
        self.bn1 = nn.BatchNorm2d(width_in, EPS)
        self.conv1 = nn.Conv2d(width_in, width, 3, stride, padding=2 - stride, bias=False)
        self.bn2 = nn.BatchNorm2d(width, EPS)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.relu = nn.LeakyReLU(SLOPE)
        self.stride, self.shared, self.added = stride, shared, (width - width_in) // 2  # channels of zeros on each side

    def forward(self, x: Tensor) -> Tensor:
        active = self.relu(self.bn1(x))
        out = self.conv2(self.relu(self.bn2(self.conv1(self._bordered(active)))))
        return out + self._shortcut(active if self.shared else x)

    def _bordered(self, x: Tensor) -> Tensor:
        """The images with the border that TensorFlow gives a convolution of stride 2: on even sides right and below alone."""
        if self.stride == 1:  # then the convolution has it on all sides
            return x
        height, width = x.shape[-2:]
        return pad(x, (width % 2, 1, height % 2, 1))

    def _shortcut(self, x: Tensor) -> Tensor:
        if not self.added:
            return x
        return pad(avg_pool2d(x, self.stride, ceil_mode=True), (0, 0, 0, 0, self.added, self.added))


class MadryWideResNet(nn.Module):
    """The network w32-k: three stages of five blocks, width 16 k, 32 k and 64 k; with k = 10, 45.9 M weights."""

    def __init__(self, widen: int, num_classes: int):
        super().__init__()
        self.standardise = Standardise()
        self.conv1 = nn.Conv2d(3, 16, 3, padding=1, bias=False)
        width_in = 16
        for stage, stride in ((1, 1), (2, 2), (3, 2)):
            width = 8 * 2**stage * widen
            first = PaddedBlock(width_in, width, stride, shared=stage == 1)
            setattr(self, f"layer{stage}", nn.Sequential(first, *(PaddedBlock(width, width, 1, shared=False) for _ in range(4))))
            width_in = width
        self.bn = nn.BatchNorm2d(width_in, EPS)
        self.relu = nn.LeakyReLU(SLOPE)
        self.fc = nn.Linear(width_in, num_classes)
        self._draw()

    def _draw(self) -> None:
        """Draw the weights: convolutions ~ N(0, 2 / (9 width)), the head uniform with variance 1 / inputs, and no bias."""
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        bound = (3 / self.fc.in_features) ** 0.5
        nn.init.uniform_(self.fc.weight, -bound, bound)
        nn.init.zeros_(self.fc.bias)
