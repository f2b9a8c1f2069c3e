"""What is compared, and what is known of it before it is fine-tuned."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, order=True)
class Arm:
    """A source, and how many of its blocks are fine-tuned besides the head."""

    source: str
    blocks: str

    def __str__(self) -> str:
        return f"{self.source}, blocks {self.blocks}"


@dataclass(frozen=True)
class Scored:
    """A source by its frozen features."""

    linear: list[float]  # accuracy in percent of a linear head, a value for each draw
    neighbours: list[float]  # of the nearest neighbours
    nearest: list[float]  # of the nearest one alone; it decides nothing, and others choose by it
    log_me: float
    h_score: float
    seconds: float  # that the features took; 0 where the store held them

    @property
    def best(self) -> np.ndarray:
        """The better of the two heads, by its mean: percent for each draw."""
        return np.array(max(self.linear, self.neighbours, key=np.mean))
