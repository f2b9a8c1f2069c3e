"""The results as Utrera et al. (2021) compare them: one robust source that stands for all, and targets that resemble the source data."""

from dataclasses import dataclass, field, fields, replace
from itertools import pairwise

from stages.lib.norms.table import NORMS
from stages.lib.report.results import Results, at
from stages.lib.report.wording import block_order, is_count
from stages.studies.utrera2021.study import UtreraSettings


@dataclass(frozen=True)
class UtreraResults(Results):
    """Results, with the sources and targets that stand for those of the paper."""

    exemplar: str | None = None  # the robust source that stands for adversarial training
    epochs_at: list[str] = field(default_factory=list)  # sizes of the figures by epoch
    similar: list[str] = field(default_factory=list)  # targets that resemble the source data
    published: dict[str, str] = field(default_factory=dict)  # column of the paper's Table 7: the source that stands for it
    degraded: dict[str, dict[str, str]] = field(default_factory=dict)  # of a target: the same images without detail, by what they lost
    lr: dict[str, float] = field(default_factory=dict)  # with which all runs of a source are fine-tuned; no source whose runs differ in it

    @property
    def block_pair(self) -> tuple[str, str] | None:
        """Numbers of blocks that Figures 4b and 11b subtract: 3 and 1; else the compared number and the next smaller one."""
        numbers = sorted(filter(is_count, at(self.last, source=self.natural)["blocks"].unique()), key=block_order)
        if {"1", "3"} <= set(numbers):
            return "3", "1"
        place = numbers.index(self.blocks) if self.blocks in numbers else 0
        return (numbers[place], numbers[place - 1]) if place else None

    @property
    def eps_pairs(self) -> list[tuple[str, str]]:
        """Robust sources of one norm with neighbouring radii, the smaller first."""
        by_norm = [sorted(self.of_family(norm), key=self.eps) for norm in NORMS]
        return [pair for names in by_norm for pair in pairwise(names) if self.eps(pair[0]) < self.eps(pair[1])]

    @property
    def norm_pairs(self) -> list[tuple[str, str]]:
        """Pairs of an L2 source and each Linf source; the L2 source is the exemplar, or else the one of the largest eps."""
        l2 = self.of_family("l2")
        if not l2:
            return []
        ours = self.exemplar if self.exemplar in l2 else max(l2, key=self.eps)
        return [(ours, other) for other in self.of_family("linf")]

    @property
    def many_steps(self) -> str | None:
        """The robust source with the ball of the PGD(1) or Gaussian source, so that only the perturbation differs; else the exemplar."""
        balls = [(self.norm(s), self.eps(s)) for family in ("pgd1", "gaussian") for s in self.of_family(family)]
        same = [name for name in self.robust if (self.norm(name), self.eps(name)) in balls]
        return self.exemplar if self.exemplar in same or not same else same[0]

    @property
    def robust_label(self) -> str:
        """The exemplar as it is called in text."""
        return self.labels[self.exemplar] if self.exemplar else "robust"


def as_in_paper(results: Results, settings: UtreraSettings) -> UtreraResults:
    """The results with the sources and targets that the settings name, as far as they are configured."""
    shared = {each.name: getattr(results, each.name) for each in fields(Results) if each.init}
    compared = UtreraResults(
        **shared,
        exemplar=settings.robust if settings.robust in results.cards else None,
        epochs_at=[str(n) for n in settings.epochs_at],
        similar=[name for name in settings.similar if name in results.targets],
        published={column: name for column, name in settings.published.items() if name in results.cards},
        degraded={
            target: {key: name for key, name in less.names.items() if name in results.targets}
            for target, less in settings.degraded.items()
            if target in results.targets
        },
        lr={name: rates[0] for name, rates in results.last.groupby("source")["lr"].unique().items() if len(rates) == 1},
    )
    return compared if compared.exemplar else replace(compared, exemplar=next(iter(compared.robust), None))
