"""The small residual network of another width."""

from torch import nn

from stages.lib.networks.layers.small_resnet import BasicBlock


class SmallResNetOfWidth(nn.Module):
    """`SmallResNet` with `width`, twice and four times as many channels in its three stages: with 16 it is that network.

    Twice the width has four times the weights and the multiplications.
    """

    def __init__(self, num_classes: int, width: int):
        super().__init__()
        self.conv1 = nn.Conv2d(3, width, 3, stride=2, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.relu = nn.ReLU(inplace=True)
        self.layer1 = _stage(width, width, stride=1)
        self.layer2 = _stage(width, 2 * width, stride=2)
        self.layer3 = _stage(2 * width, 4 * width, stride=2)
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(4 * width, num_classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")


def _stage(width_in: int, width: int, stride: int) -> nn.Sequential:
    return nn.Sequential(BasicBlock(width_in, width, stride), BasicBlock(width, width), BasicBlock(width, width))
