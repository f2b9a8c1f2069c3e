"""A norm: the balls within which images are perturbed, and how these are written, drawn and put in order."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # torch takes seconds to import
    from torch import Tensor


@dataclass(frozen=True)
class Norm:
    """All that the project knows of one norm; eps is in pixel units of [0, 1] images.

    The functions of tensors use methods of the tensor alone: the settings and the report read a norm, and do not import torch.
    """

    name: str
    """As params.yaml, the catalog and the tables call it."""
    label: str
    """As text and figures call it."""
    order: float
    """p of the norm, from 1 to infinity."""
    start: Callable[["Tensor", float], "Tensor"]
    """A random point of the ball of radius eps, for each image; [batch, C, H, W] to the same shape."""
    step: Callable[["Tensor"], "Tensor"]
    """The direction of steepest ascent, of length 1 in the norm, for each gradient; [batch, C, H, W] to the same shape."""
    project: Callable[["Tensor", float], "Tensor"]
    """The nearest point of the ball of radius eps, for each image; [batch, C, H, W] to the same shape."""
    diameter: Callable[[int], float]
    """The greatest distance between two images with so many values in [0, 1]."""
    colours: tuple[str, str]
    """Of the robust sources of this norm: at the smallest and at the largest eps."""
    marker: str
    """Of the same sources, as matplotlib names it."""
    number: Callable[[float], str] = "{:g}".format
    """An eps as it is written."""
    largest: float | None = None
    """The largest eps that has a meaning for images of any size; None where that depends on the size."""

    @property
    def axis(self) -> str:
        """The title of an axis of radii."""
        return f"eps of the attack, {self.label}"

    def tick(self, eps: float) -> str:
        """An eps at the axis of a figure."""
        return self.number(eps) if eps else "0"

    def eps_text(self, eps: float) -> str:
        """An eps in a sentence or a table: `L2 0.5`, `L∞ 8/255`."""
        return f"{self.label} {self.number(eps)}"
