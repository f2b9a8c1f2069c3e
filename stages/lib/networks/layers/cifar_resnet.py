"""Residual networks for images of 32 x 32 with the blocks of ResNet-18 and -50, as the `robustness` library names their weights."""

from torch import Tensor, nn

STAGES = (64, 128, 256, 512)  # width of each, before the expansion of a bottleneck


def _norm(width_in: int, width: int, size: int, stride: int = 1) -> tuple[nn.Conv2d, nn.BatchNorm2d]:
    """A convolution and its batch norm."""
    return nn.Conv2d(width_in, width, size, stride, padding=size // 2, bias=False), nn.BatchNorm2d(width)


def _shortcut(width_in: int, width: int, stride: int) -> nn.Sequential:
    """A 1 x 1 convolution where the shape changes, else nothing."""
    return nn.Sequential(*(_norm(width_in, width, 1, stride) if stride != 1 or width_in != width else ()))


class BasicBlock(nn.Module):
    """Two 3 x 3 convolutions and a shortcut (He et al. 2016)."""

    EXPANSION = 1

    def __init__(self, width_in: int, width: int, stride: int):
        super().__init__()
        self.conv1, self.bn1 = _norm(width_in, width, 3, stride)
        self.conv2, self.bn2 = _norm(width, width, 3)
        self.shortcut = _shortcut(width_in, width, stride)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        out = self.relu(self.bn1(self.conv1(x)))
        return self.relu(self.bn2(self.conv2(out)) + self.shortcut(x))


class Bottleneck(nn.Module):
    """A 3 x 3 convolution between two of 1 x 1, of which the last one has four times the width, and a shortcut (He et al. 2016)."""

    EXPANSION = 4

    def __init__(self, width_in: int, width: int, stride: int):
        super().__init__()
        self.conv1, self.bn1 = _norm(width_in, width, 1)
        self.conv2, self.bn2 = _norm(width, width, 3, stride)
        self.conv3, self.bn3 = _norm(width, self.EXPANSION * width, 1)
        self.shortcut = _shortcut(width_in, self.EXPANSION * width, stride)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        out = self.relu(self.bn1(self.conv1(x)))
        out = self.relu(self.bn2(self.conv2(out)))
        return self.relu(self.bn3(self.conv3(out)) + self.shortcut(x))


class CifarResNet(nn.Module):
    """A stem of one 3 x 3 convolution without stride or pooling, and four stages.

    Args:
        block: of all stages.
        counts: blocks of each stage.
    """

    def __init__(self, block: type[BasicBlock] | type[Bottleneck], counts: tuple[int, ...], num_classes: int):
        super().__init__()
        self.conv1, self.bn1 = _norm(3, STAGES[0], 3)
        self.relu = nn.ReLU(inplace=True)
        width_in = STAGES[0]
        for stage, (width, count) in enumerate(zip(STAGES, counts, strict=True), start=1):
            blocks = []
            for i in range(count):
                blocks.append(block(width_in, width, 2 if i == 0 and stage > 1 else 1))
                width_in = block.EXPANSION * width
            setattr(self, f"layer{stage}", nn.Sequential(*blocks))
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.linear = nn.Linear(width_in, num_classes)
