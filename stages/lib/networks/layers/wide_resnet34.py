"""Wide residual networks for images of 32 x 32, which torchvision does not have."""

from torch import Tensor, nn


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
    """Wide residual network 34-k for images of 32 x 32: three stages of five blocks, width 16 k, 32 k and 64 k.

    That of Zagoruyko & Komodakis (2016), 6 n + 4 layers deep with n = 5 blocks in each stage; with k = 10, 46 M weights.
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
