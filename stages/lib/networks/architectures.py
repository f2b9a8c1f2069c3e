"""The size of each architecture: what the settings and the plan have to know before a network is built.

Nothing that computes imports this: a new architecture changes no key. How a network is built its family says (`families.table`).
"""

from functools import lru_cache

from stages.lib.choice import module_of
from stages.lib.errors import RunError
from stages.lib.networks.families.table import FAMILIES
from stages.lib.networks.names import known
from stages.lib.settings.params import choices

BLOCKS = {
    "small_resnet": 9,
    "small_resnet_x0_5": 9,
    "small_resnet_x2": 9,
    "wide_resnet34_1": 15,
    "wide_resnet34_2": 15,
    "wide_resnet34_4": 15,
    "wide_resnet34_10": 15,
    "madry_wide_resnet32_1": 15,
    "madry_wide_resnet32_2": 15,
    "madry_wide_resnet32_4": 15,
    "madry_wide_resnet32_10": 15,
    "cifar_resnet18": 8,
    "cifar_resnet50": 16,
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

What counts as a block, the family says.
"""

WITHOUT_LAST_NORM = {"vgg16_bn": "between whose last batch norm and head are other layers with weights"}
"""Architectures whose head does not follow on a batch norm, so that `blocks: last_norm` has none to train; and why."""


def blocks_problem(blocks: int | str, name: str, architecture: str) -> str | None:
    """What is wrong with fine-tuning so many blocks of a source, and what is allowed; None where it can be done."""
    most, of = blocks_of(architecture), f"of {name} ({architecture})"
    if blocks in {"last_norm", "norms"} and architecture not in BLOCKS:
        return f"{blocks} is no part {of}, whose norms are no units of their own; allowed: 0 to {most}, or all"
    if blocks == "last_norm" and architecture in WITHOUT_LAST_NORM:
        return f"last_norm is no part {of}, {WITHOUT_LAST_NORM[architecture]}; allowed: 0 to {most}, norms, or all"
    return f"{blocks} is above the {most} blocks {of}; allowed: 0 to {most}, or all" if isinstance(blocks, int) and blocks > most else None


def blocks_of(architecture: str) -> int:
    """Blocks of an architecture of the table or of an open family; the latter is built without memory, which takes seconds.

    Raises:
        RunError: for a name that no family has, and for a network of an open family that cannot be built or cut.
    """
    if architecture in BLOCKS:
        return BLOCKS[architecture]
    if known(architecture) not in FAMILIES:
        raise RunError(f"architecture is {architecture!r}; allowed: {choices(architecture, BLOCKS)}, or timm/<name of its library>")
    return _sizes(architecture)[0]


@lru_cache
def width_of(architecture: str) -> int:
    """Features that the last layer of an architecture sees; the network is built without memory, which takes seconds.

    Raises:
        RunError: as `blocks_of`.
    """
    import torch  # here, as it takes seconds to import

    from stages.lib.networks import units  # here, as it imports torch

    with torch.device("meta"):  # shapes without memory
        return units.build(known(architecture), 1, [0.5] * 3, [0.5] * 3).head.in_features


def pieces_of(architecture: str) -> int:
    """How many pieces of it can be retrained one after the other (`units.pieces`): the head, each block, a batch norm by itself.

    Raises:
        RunError: as `blocks_of`.
    """
    blocks = blocks_of(architecture)
    if architecture not in BLOCKS:
        return _sizes(architecture)[1]
    return blocks + 1 + module_of(FAMILIES, architecture, "architecture").LONE_BATCHNORM


@lru_cache
def _sizes(architecture: str) -> tuple[int, int]:
    """Blocks and pieces of a network of an open family."""
    import torch  # here, as it takes seconds to import

    from stages.lib.networks import units  # here, as it imports torch

    with torch.device("meta"):  # shapes without memory
        network = units.build(known(architecture), 1, [0.5] * 3, [0.25] * 3)
    return len(set(dict(network.named_children())) - {"normalise", "stem", "pool", "dropout", "head"}), len(units.pieces(network))
