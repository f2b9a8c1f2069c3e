"""Which classes of a network stand for the category of a cue-conflict image, and which category a network names (Geirhos et al. 2019)."""

from collections.abc import Sequence

import torch
from torch import Tensor

from stages.lib.errors import RunError


def _ranges(*ends: tuple[int, int], but: Sequence[int] = ()) -> list[int]:
    return [number for first, last in ends for number in range(first, last + 1) if number not in but]


IMAGENET = {
    "airplane": [404], "bear": [294, 295, 296, 297], "bicycle": [444, 671],
    "bird": _ranges((8, 24), (80, 83), (87, 100), (127, 145), but=(9, 17, 21, 97, 134)),
    "boat": [472, 554, 625, 814, 914], "bottle": [440, 720, 737, 898, 899, 901, 907], "car": [436, 511, 817], "cat": _ranges((281, 286)),
    "chair": [423, 559, 765, 857], "clock": [409, 530, 892],
    "dog": _ranges((152, 268), but=(192, 204, 227, 242, 251, 258, 260, 264)),
    "elephant": [385, 386], "keyboard": [508, 878], "knife": [499], "oven": [766], "truck": [555, 569, 656, 675, 717, 734, 864, 867],
}  # fmt: skip
"""The 16 categories of Geirhos et al. (2019), and the classes of ImageNet that belong to each, in the order of the names of its folders."""


def groups_of(name: str, categories: Sequence[str], outputs: int) -> list[list[int]]:
    """The outputs of a network that stand for each category of the set `name`.

    A network with as many outputs as there are categories has one for each; one of ImageNet has those of Geirhos et al.

    Raises:
        RunError: for any other network or category.
    """
    if len(categories) == outputs:
        return [[number] for number in range(outputs)]
    if outputs == 1000 and set(categories) <= IMAGENET.keys():
        return [IMAGENET[category] for category in categories]
    strange = next((c for c in categories if c not in IMAGENET), categories[0])
    raise RunError(
        f"{name}: its {len(categories)} categories, such as {strange!r}, are no classes of a source with {outputs}; "
        f"allowed: sources with a class for each, or of ImageNet, and then {', '.join(IMAGENET)}"
    )


def check_classes(name: str, classes: int, outputs: int) -> None:
    """Raises RunError where a set has other classes than a source that is tested on it."""
    if classes != outputs:
        raise RunError(
            f"{name}: has {classes} classes, and the source that is tested on it {outputs}; allowed: a set of the source's classes"
        )


def answers(logits: Tensor, groups: Sequence[Sequence[int]]) -> Tensor:  # [batch, outputs] -> int64 [batch]
    """The category that a network names: the one with the highest mean of the softmax over its outputs."""
    probabilities = logits.double().softmax(1)
    return torch.stack([probabilities[:, list(group)].mean(1) for group in groups], 1).argmax(1)
