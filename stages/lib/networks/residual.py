"""Residual networks that torchvision does not have: the embedded one, and the wide ones of 32 x 32 images."""

from torch import Tensor, nn


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


class PreactBlock(nn.Module):
    """Batch norm and ReLU before each of two 3 x 3 convolutions; a 1 x 1 convolution on the shortcut where the shape changes.

    Of wide residual networks (Zagoruyko & Komodakis 2016, Figure 1b).
    """

    def __init__(self, width_in: int, width: int, stride: int):
        super().__init__()
        self.bn1 = nn.BatchNorm2d(width_in)
        self.conv1 = nn.Conv2d(width_in, width, 3, stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.relu = nn.ReLU(inplace=True)
        self.shortcut = nn.Conv2d(width_in, width, 1, stride, bias=False) if stride != 1 or width_in != width else None

    def forward(self, x: Tensor) -> Tensor:
        active = self.relu(self.bn1(x))
        out = self.conv2(self.relu(self.bn2(self.conv1(active))))
        return out + (x if self.shortcut is None else self.shortcut(active))


class WideResNet(nn.Module):
    """Wide residual network 32-k for images of 32 x 32: three stages of five blocks, width 16 k, 32 k and 64 k.

    As Madry et al. (2018) and Shafahi et al. (2020, Figure 2) train it, with k = 10: 46 M weights.
    """

    def __init__(self, widen: int, num_classes: int):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 16, 3, padding=1, bias=False)
        width_in = 16
        for stage, stride in ((1, 1), (2, 2), (3, 2)):
            width = 8 * 2**stage * widen
            blocks = [PreactBlock(width_in if i == 0 else width, width, stride if i == 0 else 1) for i in range(5)]
            setattr(self, f"layer{stage}", nn.Sequential(*blocks))
            width_in = width
        self.bn = nn.BatchNorm2d(width_in)
        self.fc = nn.Linear(width_in, num_classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
