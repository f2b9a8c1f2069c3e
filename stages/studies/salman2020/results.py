"""The results as Salman et al. (2020) compare them: sources of one kind of data on a grid of L2 radii and architectures, in two modes."""

from dataclasses import dataclass, field, fields
from functools import cached_property

import pandas as pd

from stages.lib.report import statistics
from stages.lib.report.results import Results, at
from stages.studies.salman2020.study import SalmanSettings

MODES = {"fixed": "0", "full": "all"}  # what is trained: the number of blocks besides the head
MODE_NAMES = {"fixed": "fixed-feature", "full": "full-network"}
WIDTHS = (  # architectures that differ in their width alone, the narrowest first (Figure 6: ResNet-18 stands before the three)
    ("small_resnet_x0_5", "small_resnet", "small_resnet_x2"),
    ("resnet18", "resnet50", "wide_resnet50_2", "wide_resnet50_4"),
)
MIN_RADII = 3  # robust ones, of which one can be the best
RUN = ["mode", "target", "source", "architecture", "eps", "source_model", "seed"]
SOURCE = ["architecture", "eps", "source_model"]  # one trained model


@dataclass(frozen=True)
class SalmanResults(Results):
    """Results, with the sources as a grid: natural ones have eps 0."""

    low_resolution: dict[str, str] = field(default_factory=dict)
    coarser: dict[str, str] = field(default_factory=dict)
    texture_robust: list[str] = field(default_factory=list)

    @cached_property
    def grid(self) -> dict[tuple[str, float], str]:
        """The source of each architecture and L2 radius; of several natural ones of an architecture, the first that params.yaml names.

        They learnt the data of the natural source. Sources for other norms, of other perturbations than PGD, and those of stylised
        images are not in it.
        """
        found: dict[tuple[str, float], str] = {}
        named = sorted(self.cards, key=lambda name: name != self.natural)
        for name in named:
            if self.family(name) in ("natural", "l2") and name not in self.texture_robust and self.learnt_as_natural(name):
                found.setdefault((self.cards[name]["architecture"], self.eps(name)), name)
        return dict(sorted(found.items(), key=lambda item: (self.architectures_seen.index(item[0][0]), item[0][1])))

    @cached_property
    def architectures_seen(self) -> list[str]:
        """Architectures of all sources: those that differ in width from narrow to wide, then the others as params.yaml names them."""
        seen = list(dict.fromkeys(card["architecture"] for card in self.cards.values()))
        order = [name for family in WIDTHS for name in family]
        return sorted(seen, key=lambda name: order.index(name) if name in order else len(order))

    @property
    def architectures(self) -> list[str]:
        """Architectures of the grid, in that order."""
        return list(dict.fromkeys(architecture for architecture, _ in self.grid))

    @property
    def radii(self) -> list[float]:
        """The radii of the grid; 0 is natural."""
        return sorted({eps for _, eps in self.grid})

    @property
    def main(self) -> str:
        """The architecture of which there are the most radii, that of the natural source where there are several."""
        counts = {name: sum(of == name for of, _ in self.grid) for name in self.architectures}
        mine = self.cards[self.natural]["architecture"]
        return max(counts, key=lambda name: (counts[name], name == mine), default=mine)

    @property
    def has_grid(self) -> bool:
        """Whether there is a choice of radii: MIN_RADII robust ones of one architecture, and its natural source, with runs in a mode."""
        of_main = [eps for architecture, eps in self.grid if architecture == self.main]
        return 0 in of_main and len(of_main) > MIN_RADII and bool(self.modes)

    @cached_property
    def runs_of_grid(self) -> pd.DataFrame:
        """A row for each run at the compared size, in either mode: RUN, test_accuracy, diverged."""
        return self._rows({name: place for place, name in self.grid.items()})

    @cached_property
    def runs_of_textures(self) -> pd.DataFrame:
        """The same of the sources that learnt stylised images."""
        return self._rows({name: (self.cards[name]["architecture"], 0.0) for name in self.texture_robust})

    def _rows(self, places: dict[str, tuple[str, float]]) -> pd.DataFrame:
        by_blocks = {blocks: mode for mode, blocks in MODES.items()}
        rows = self.last[self.last["source"].isin(places) & self.last["blocks"].isin(by_blocks)]
        rows = at(rows, size=self.size)
        return rows.assign(
            mode=rows["blocks"].map(by_blocks),
            architecture=[places[name][0] for name in rows["source"]],
            eps=[places[name][1] for name in rows["source"]],
        )[[*RUN, "test_accuracy", *(name for name in ("diverged",) if name in rows)]].reset_index(drop=True)

    @property
    def modes(self) -> list[str]:
        """The modes that there are runs of."""
        return [mode for mode in MODES if mode in set(self.runs_of_grid["mode"])]

    def accuracy_of(self, name: str, number: int, split: str = "test") -> float | None:
        """Percent of a model of a source on its own data: as measured, or else as its authors published it; None where neither is known."""
        card = self.models[name][number]
        return card["accuracy"].get(split, card.get("published_accuracy") if split == "test" else None)


def means(runs: pd.DataFrame, by: list[str]) -> pd.DataFrame:
    """Mean accuracies with their intervals: over models where there are several, else over subsets."""
    return statistics.summarise(runs, by, "test_accuracy")


def as_in_paper(results: Results, settings: SalmanSettings) -> SalmanResults:
    """The results with the names that the settings give, as far as they are configured."""
    shared = {each.name: getattr(results, each.name) for each in fields(Results) if each.init}

    def configured(pairs: dict[str, str]) -> dict[str, str]:
        return {left: right for left, right in pairs.items() if {left, right} <= set(results.targets)}

    return SalmanResults(
        **shared, low_resolution=configured(settings.low_resolution), coarser=configured(settings.coarser),
        texture_robust=[name for name in settings.texture_robust if name in results.cards],
    )  # fmt: skip
