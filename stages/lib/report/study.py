"""The results of a configuration as one object, and what a difference between two of them is evidence of.

A difference whose 95 % interval lies on the side of zero that a claim predicts `supports` it, on the other `contradicts` it,
and otherwise leaves it `open`.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from stages.lib.norms.table import NORMS, norm_of
from stages.lib.report import statistics
from stages.lib.store.tables import WORST

ABSENT = "not in this configuration"
MIN_SEEDS = 5  # with fewer, all seeds agree by chance in more than 1 of 16 cases: no verdict from those
ALL = 1_000_000_000  # `all`, where numbers of blocks or of images are put in order


@dataclass(frozen=True)
class Evidence:
    """One measured difference in percentage points; mean None where the configuration lacks what it takes."""

    what: str
    mean: float | None = None
    low: float = np.nan
    high: float = np.nan
    n: int = 0
    of: str = "paired subsets"  # what n counts
    verdict: str = "open"
    note: str = ""


@dataclass(frozen=True)
class Study:
    """The results that claims are judged by, and the setting (blocks, size) at which they are compared.

    A subset's `size` is its number of images as text, or `all`: the whole training set, whose number differs between targets.
    """

    runs: pd.DataFrame  # every evaluated epoch of every run
    robustness: pd.DataFrame  # accuracy under each attack, and under the worst of them, per model, norm and eps
    checks: pd.DataFrame  # whether these can be trusted, per model and norm
    cards: dict[str, dict[str, Any]]  # of each source: kind, threat, accuracy on the source data
    labels: dict[str, str]  # how a source is called in text and figures
    natural: str
    exemplar: str | None  # the robust source that stands for adversarial training
    targets: list[str]
    textures: list[str]  # the targets that have their label in texture alone
    n_test: dict[str, int]  # images in each split of the source data
    blocks: str
    size: str
    resamples: int
    whole: dict[str, int] = field(default_factory=dict)  # images of each target's whole training set, where that is a size
    epochs_at: list[str] = field(default_factory=list)  # sizes of the figures by epoch
    similar: list[str] = field(default_factory=list)  # targets that resemble the source data
    published: dict[str, str] = field(default_factory=dict)  # column of the paper's Table 7: the source that stands for it
    last: pd.DataFrame = field(init=False)  # of `runs`, the last epoch of each

    def __post_init__(self) -> None:
        n = self.runs["n_images"]
        size = n.astype(str).where(n != self.runs["target"].map(self.whole), "all")
        object.__setattr__(self, "runs", self.runs.assign(size=size))
        object.__setattr__(self, "last", statistics.last_epoch(self.runs))

    @property
    def robust(self) -> list[str]:
        """Trained adversarially with many steps; Section 7 alone is about the others that learn from perturbed images."""
        return [name for name in self.cards if self.family(name) in NORMS]

    @property
    def worst(self) -> pd.DataFrame:
        """Accuracy of what stands against every attack."""
        return at(self.robustness, attack=WORST)

    @property
    def random(self) -> str | None:
        return next((name for name, card in self.cards.items() if card["kind"] == "random"), None)

    @property
    def sizes(self) -> list[str]:
        return sorted(self.last["size"].unique(), key=size_order)

    @property
    def block_pair(self) -> tuple[str, str] | None:
        """What Figures 4b and 11b subtract: three and one blocks; else the study's number of blocks and the next smaller one."""
        numbers = sorted(at(self.last, source=self.natural)["blocks"].unique(), key=block_order)
        if {"1", "3"} <= set(numbers):
            return "3", "1"
        place = numbers.index(self.blocks) if self.blocks in numbers else 0
        return (numbers[place], numbers[place - 1]) if place else None

    def eps(self, name: str) -> float:
        return (self.cards[name]["threat"] or {}).get("eps", 0.0)

    def norm(self, name: str) -> str | None:
        return (self.cards[name]["threat"] or {}).get("norm")

    def perturbation(self, name: str) -> str | None:
        """How the source's images were perturbed, where that is known: `PGD(3)`, `Gaussian`."""
        return (self.cards[name]["threat"] or {}).get("perturbation")

    def family(self, name: str) -> str:
        """What a source's colour goes by: `natural`, `random`; of a robust one the norm; `pgd1` or `gaussian` of Section 7."""
        if name == self.random:
            return "random"
        if name == self.natural or self.eps(name) == 0:
            return "natural"
        return {"PGD(1)": "pgd1", "Gaussian": "gaussian"}.get(self.perturbation(name), self.norm(name))

    def learnt_as_natural(self, name: str) -> bool:
        """Trained on the images and the classes of the natural source, so that their accuracies are of one task."""
        return all(self.cards[name].get(key) == self.cards[self.natural].get(key) for key in ("dataset", "part"))

    def of_family(self, family: str) -> list[str]:
        return [name for name in self.cards if self.family(name) == family]


def judge(low: float, high: float, expected: int = 1) -> str:
    """`supports` where the interval lies on the side of zero that `expected` (+1 or -1) names, `contradicts` on the other."""
    if low > 0 or high < 0:
        return "supports" if (low > 0) == (expected > 0) else "contradicts"
    return "open"


def over_seeds(study: Study, what: str, differences: np.ndarray, expected: int = 1, note: str = "") -> Evidence:
    """Evidence from one difference per subset; expected 0: the claim predicts no sign."""
    n = len(differences)
    if not n:
        return Evidence(what, note=ABSENT)
    mean, low, high = statistics.interval(differences, study.resamples)
    if n < MIN_SEEDS:
        return Evidence(what, mean, low, high, n, note=f"{n} subsets, no verdict from fewer than {MIN_SEEDS}")
    verdict = judge(low, high, expected) if expected else "open"
    return Evidence(what, mean, low, high, n, verdict=verdict, note=note or ("" if verdict != "open" else "the interval includes zero"))


def over_images(what: str, percents: list[float], counts: list[int | None], signs: list[int], expected: int = 1) -> Evidence:
    """Evidence from one model each: no interval over seeds, but the binomial one over test images, where their number is known."""
    if None in counts:
        return Evidence(what, float(np.dot(percents, signs)), n=1, of="model each", note="no interval: number of test images unknown")
    mean, low, high = statistics.contrast(percents, counts, signs)
    verdict = judge(low, high, expected)
    note = "one model each: interval over test images, not over seeds" + ("" if verdict != "open" else "; it includes zero")
    return Evidence(what, mean, low, high, min(counts), "test images", verdict, note)


def best(rows: pd.DataFrame, sources: list[str]) -> str | None:
    """The source with the highest mean accuracy among the rows; of equals the first."""
    means = rows.groupby("source")["test_accuracy"].mean().reindex(sources).dropna()
    return None if means.empty else str(means.idxmax())


def at(rows: pd.DataFrame, **where: Any) -> pd.DataFrame:
    """The rows whose columns have these values."""
    for column, value in where.items():
        rows = rows[rows[column] == value]
    return rows


def block_order(blocks: str) -> int:
    return ALL if blocks == "all" else int(blocks)


def size_order(size: str) -> int:
    return ALL if size == "all" else int(size)


def images(n: int | str) -> str:
    return "all images" if n == "all" else f"{int(n):,} images"


def block_text(blocks: str) -> str:
    return {"all": "all blocks", "1": "1 block"}.get(blocks, f"{blocks} blocks")


def kept_runs(study: Study, target: str) -> pd.DataFrame:
    """Accuracy under attack of the fine-tuned models with kept weights: most images, blocks nearest to the study's, random's own."""
    rows = at(study.worst, model="finetuned", dataset=target)
    if rows.empty:
        return rows
    rows = at(rows, n_images=rows["n_images"].max())
    pretrained = rows[rows["source"] != study.random]
    return rows[(rows["source"] == study.random) | (rows["blocks"] == nearest_blocks(pretrained["blocks"].unique(), study.blocks))]


def nearest_blocks(configured: Any, wanted: str) -> str | None:
    """The configured number of blocks that is nearest to the wanted one; of two the smaller."""
    order: Callable[[str], tuple[int, int]] = lambda b: (abs(block_order(b) - block_order(wanted)), block_order(b))  # noqa: E731
    return min((str(b) for b in configured), key=order, default=None)


def eps_text(norm: str, eps: float) -> str:
    """A radius as it is written: `L2 0.5`, `L∞ 8/255`; eps in pixel units of [0, 1] images."""
    return norm_of(norm).eps_text(eps)


@dataclass(frozen=True)
class Answer:
    """Which source transfers best to a target, and how far from natural; of natural itself, how far from it the best robust one is."""

    target: str
    best: str
    accuracy: tuple[float, float, float]  # mean, low, high, in percent
    rival: str | None  # natural, or the best robust source where natural is best
    difference: Evidence  # best minus rival


def answers(study: Study) -> list[Answer]:
    """One per target at the study's blocks and size; random initialisation takes part with its whole network."""
    found = []
    for target in study.targets:
        rows = at(study.last, target=target, size=study.size)
        rows = rows[(rows["blocks"] == study.blocks) | (rows["source"] == study.random)]
        name = best(rows, list(study.cards))
        if name is None:
            continue
        rival = best(rows, study.robust) if name == study.natural else study.natural
        ours, theirs = at(rows, source=name), at(rows, source=rival)
        gap = statistics.paired(ours, theirs, ["seed"])["difference"].to_numpy()
        what = f"{study.labels[name]} minus {study.labels.get(rival, 'robust')}"
        accuracy = statistics.interval(ours["test_accuracy"].to_numpy(), study.resamples)
        found.append(Answer(target, name, accuracy, rival, over_seeds(study, what, gap)))
    return found


def signed(value: float, digits: int = 1) -> str:
    """With its sign, and a true minus; nothing has no sign."""
    text = f"{value:+.{digits}f}".replace("-", "−")
    return text[1:] if not float(text[1:]) else text
