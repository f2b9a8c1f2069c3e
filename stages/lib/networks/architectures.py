"""The architectures that are known by name, and what of them matters before a network is built.

Kept apart from `networks`, which imports torch, so that settings can be checked in a fraction of a second.
"""

BLOCKS = {
    "small_resnet": 9,
    "wide_resnet32_1": 15,
    "wide_resnet32_2": 15,
    "wide_resnet32_4": 15,
    "wide_resnet32_10": 15,
    "resnet18": 8,
    "resnet34": 16,
    "resnet50": 16,
    "resnet101": 33,
    "resnet152": 50,
    "resnext50_32x4d": 16,
    "resnext101_32x8d": 33,
    "resnext101_64x4d": 33,
    "wide_resnet50_2": 16,
    "wide_resnet50_4": 16,
    "wide_resnet101_2": 33,
    "densenet161": 78,
    "vgg16_bn": 15,
    "mobilenet_v2": 18,
    "mnasnet1_0": 17,
    "shufflenet_v2_x1_0": 17,
}
"""Blocks of each architecture: the largest number that can be fine-tuned besides the head, which is always the last linear layer.

ResNet and its kin: a residual block. DenseNet: a dense layer, and the transition before it where there is one; the last batch
norm goes with the pooling. VGG: a convolution with its batch norm and pooling (13), or a hidden linear layer (2). MobileNetV2,
MnasNet, ShuffleNetV2: a residual unit, and the last 1 x 1 convolution. Dropout before the head is trained with the head.
"""


def pieces_of(architecture: str) -> int:
    """How many pieces of it can be retrained one after the other (`networks.pieces`): the head, each block, a batch norm by itself."""
    return BLOCKS[architecture] + 1 + architecture.startswith(("wide_resnet32_", "densenet"))
