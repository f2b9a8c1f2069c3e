"""The architectures that are known by name, and what of them matters before a network is built.

Kept apart from `networks`, which imports torch, so that settings can be checked in a fraction of a second.
"""

RESIDUAL_BLOCKS = {
    "small_resnet": 9,
    "resnet18": 8,
    "resnet34": 16,
    "resnet50": 16,
    "resnet101": 33,
    "resnet152": 50,
    "resnext50_32x4d": 16,
    "resnext101_32x8d": 33,
    "resnext101_64x4d": 33,
    "wide_resnet50_2": 16,
    "wide_resnet101_2": 33,
}
"""Residual blocks of each architecture: the largest number of blocks that can be fine-tuned besides the head."""
