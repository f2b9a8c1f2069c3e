"""The results of a configuration as one object, which tables, figures and claims of the report are made from."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from stages.lib.report import statistics
from stages.lib.report.cards import Card, Unlearnt, family_of, robust_of, threat_of, unlearnt
from stages.lib.report.wording import block_text, images, nearest_blocks, size_order
from stages.lib.store.tables import DIVERGED, PER_IMAGE, WORST

MODEL = ["model", "source", "dataset", "blocks", "n_images"]  # a source, or what was fine-tuned from it: one model for each seed


@dataclass(frozen=True)
class Results:
    """Fine-tuning runs and accuracies under attack, and the setting (blocks, size) at which sources are compared.

    A subset's `size` is its number of images as text, or `all`: the whole training set, whose number differs between targets.
    """

    runs: pd.DataFrame  # every evaluated epoch of every run; `test_accuracy` is by the metric of the target
    robustness: pd.DataFrame  # accuracy under each attack, and under the worst of them, per model, norm and eps
    checks: pd.DataFrame  # whether these can be trusted, per model and norm
    models: dict[str, list[Card]]  # of each source: a card for each of its models
    labels: dict[str, str]  # how a source is called in text and figures
    natural: str
    targets: list[str]
    textures: list[str]  # the targets that have their label in texture alone
    n_test: dict[str, int]  # images in each split of the source data
    blocks: str
    size: str
    whole: dict[str, int] = field(default_factory=dict)  # images of each target's whole training set, where that is a size
    metrics: dict[str, str] = field(default_factory=dict)  # of each target: `mean_per_class`, or else top-1 accuracy
    measured: pd.DataFrame = field(default_factory=pd.DataFrame)  # `runs`, with top-1 accuracy as `test_accuracy` of all targets
    rates: pd.DataFrame = field(default_factory=pd.DataFrame)  # runs at all learning rates, where one is chosen; `test_accuracy` is top-1
    standing: pd.DataFrame = field(default_factory=lambda: pd.DataFrame(columns=[*PER_IMAGE]))  # `worst`, image by image
    last: pd.DataFrame = field(init=False)  # of `runs`, the epoch that each is reported by, which is the last one if not chosen
    cards: dict[str, Card] = field(init=False)  # of the first model of each source

    def __post_init__(self) -> None:
        n = self.runs["n_images"]
        size = n.astype(str).where(n != self.runs["target"].map(self.whole), "all")
        object.__setattr__(self, "runs", self.runs.assign(size=size))
        object.__setattr__(self, "cards", {name: of_source[0] for name, of_source in self.models.items()})
        object.__setattr__(self, "last", statistics.last_epoch(self.runs))

    @property
    def robust(self) -> list[str]:
        """As `cards.robust_of` has them; other perturbations are compared by themselves."""
        return robust_of({name: card for name, card in self.cards.items() if name != self.natural})

    @property
    def worst(self) -> pd.DataFrame:
        """Accuracy of what stands against every attack."""
        return at(self.robustness, attack=WORST)

    @property
    def random(self) -> str | None:
        """The source without pre-training, where one is compared."""
        return next((name for name, card in self.cards.items() if card["kind"] == "random"), None)

    @property
    def diverged(self) -> pd.DataFrame:
        """Runs that have diverged: source, n (how many), runs (of how many), targets and lr (where), a row for each source that has any."""
        if "diverged" not in self.last:
            return pd.DataFrame(columns=["source", "n", "runs", "targets", "lr"])
        rows = []
        for source, group in self.last.groupby("source", sort=False):
            bad = at(group, diverged=True)
            if len(bad):
                rows.append((source, len(bad), len(group), list(dict.fromkeys(bad["target"])), list(dict.fromkeys(bad["lr"]))))
        return pd.DataFrame(rows, columns=["source", "n", "runs", "targets", "lr"])

    def score(self, target: str) -> str:
        """What the accuracy of a target is, in words."""
        return "mean accuracy over classes" if self.metrics.get(target) == "mean_per_class" else "test accuracy"

    @property
    def unlearnt(self) -> list[Unlearnt]:
        """The models of all sources that have not learnt their own data."""
        return [model for of_source in self.models.values() for model in unlearnt(of_source)]

    @property
    def sizes(self) -> list[str]:
        return sorted(self.last["size"].unique(), key=size_order)

    def eps(self, name: str) -> float:
        """The radius within which the source was trained on perturbed images; 0 for one that was not."""
        return threat_of(self.cards[name]).get("eps", 0.0)

    def norm(self, name: str) -> str | None:
        return threat_of(self.cards[name]).get("norm")

    def perturbation(self, name: str) -> str | None:
        """How the source's images were perturbed, where that is known: `PGD(3)`, `Gaussian`."""
        return threat_of(self.cards[name]).get("perturbation")

    def family(self, name: str) -> str:
        """What a source's colour goes by: `natural`, `random`; the norm of a robust one; `pgd1` or `gaussian`."""
        if name == self.natural:
            return "natural"
        return self.norm(name) if name in self.robust else family_of(self.cards[name])

    def of_family(self, family: str) -> list[str]:
        return [name for name in self.cards if self.family(name) == family]

    def accuracies(self, name: str, splits: list[str]) -> list[list[float]]:
        """Percent of each model of a source on splits of its own data; none where one of them was not measured."""
        found = [[card["accuracy"].get(split) for split in splits] for card in self.models[name]]
        return [] if any(None in accuracy for accuracy in found) else found

    def learnt_as_natural(self, name: str) -> bool:
        """Whether the source was trained on the images and classes of the natural one, so that their accuracies are of one task."""
        return all(self.cards[name].get(key) == self.cards[self.natural].get(key) for key in ("dataset", "part"))


def at(rows: pd.DataFrame, **where: Any) -> pd.DataFrame:
    """The rows whose columns have these values."""
    for column, value in where.items():
        rows = rows[rows[column] == value]
    return rows


def row_at(rows: pd.DataFrame, **where: Any) -> pd.Series | None:
    """The one row whose columns have these values; None where there is none."""
    rows = at(rows, **where)
    return None if rows.empty else rows.iloc[0]


def best(rows: pd.DataFrame, sources: list[str]) -> str | None:
    """The source with the highest mean accuracy among the rows; of equals the first."""
    means = rows.groupby("source")["test_accuracy"].mean().reindex(sources).dropna()
    return None if means.empty else str(means.idxmax())


def kept_models(results: Results, target: str) -> pd.DataFrame:
    """Accuracy under attack of the fine-tuned models with kept weights: most images, blocks nearest to the compared, random's own."""
    rows = at(results.worst, model="finetuned", dataset=target)
    if rows.empty:
        return rows
    rows = at(rows, n_images=rows["n_images"].max())
    pretrained = rows[rows["source"] != results.random]
    return rows[(rows["source"] == results.random) | (rows["blocks"] == nearest_blocks(pretrained["blocks"].unique(), results.blocks))]


def middle_radius(rows: pd.DataFrame) -> float | None:
    """The middle of the radii of some attacks; None where there is none."""
    radii = sorted(rows.loc[rows["eps"] > 0, "eps"].unique())
    return float(radii[len(radii) // 2]) if radii else None


def model_text(row: pd.Series) -> str:
    """`on glyphs, its own data` of a source, `on digits: 100 images, 1 block` of a fine-tuned model; the source is named beside it."""
    if row["model"] == "source":
        return f"on {row['dataset']}, its own data"
    return f"on {row['dataset']}: {images(row['n_images'])}, {block_text(row['blocks'])}"


def of_models(runs: pd.DataFrame, models: Mapping[str, int]) -> pd.DataFrame:
    """The runs of an experiment with the columns `source_model` and `diverged`, which is no measure of its own any more.

    Args:
        runs: a row for each run and measure, as `store.tables.EXPERIMENT_RUNS`.
        models: how many a source has, of which its seeds, in their order, take one after the other.
    """
    run = [name for name in ("source", "target", "method", "setting", "seed") if name in runs]
    flagged = runs["measure"] == DIVERGED
    diverged = set(runs.loc[flagged, run].itertuples(index=False, name=None))
    places = {seed: place for place, seed in enumerate(sorted(runs["seed"].unique()))}
    rows = runs[~flagged]
    return rows.assign(
        diverged=[key in diverged for key in rows[run].itertuples(index=False, name=None)],
        source_model=[places[seed] % models[source] for source, seed in zip(rows["source"], rows["seed"], strict=True)],
    )
