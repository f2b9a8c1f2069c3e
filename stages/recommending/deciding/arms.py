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
    nearest: list[float]  # of the nearest one alone
    log_me: float
    h_score: float
    seconds: float  # that the features took; 0 where the store held them

    @property
    def heads(self) -> np.ndarray:
        """The mean of the three heads: percent for each draw. One alone misleads where it has learnt what fine-tuning does not use."""
        return np.mean([self.linear, self.neighbours, self.nearest], 0)
