"""What is compared, and what is known of it before it is fine-tuned."""

from dataclasses import dataclass

import numpy as np

from stages.lib.report.wording import block_text


@dataclass(frozen=True, order=True)
class Arm:
    """A source, and how many of its blocks are fine-tuned besides the head."""

    source: str
    blocks: str

    def __str__(self) -> str:
        """As it is written: `natural (3 blocks)`, `natural (head alone)`."""
        return f"{self.source} ({'head alone' if self.blocks == '0' else block_text(self.blocks)})"


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
