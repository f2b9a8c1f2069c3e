"""What the report says of influence (Utrera et al. 2021, Section 6): Figures 6 and 7, a table, and the claims."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from stages.lib.datasets import sets
from stages.lib.report.looks import Look
from stages.lib.report.reading import ExperimentResults, reduced
from stages.lib.report.results import at
from stages.lib.report.section import Drawing, Section
from stages.lib.report.statistics import interval
from stages.studies.utrera2021.influence import claims, figures, numbers
from stages.studies.utrera2021.influence.numbers import CONTROLS, MEASURES, Influences
from stages.studies.utrera2021.results import UtreraResults

TEMPLATE = Path(__file__).with_name("section.html.j2")


def part(ours: UtreraResults, experiments: dict[str, ExperimentResults], cards: dict[str, Any], looks: dict[str, Look]) -> Section:
    """This part of the paper's section; empty where the experiment is off.

    Args:
        experiments: what was computed, by name.
        cards: of the sources of the experiments.
        looks: of all sources.
    """
    influences = numbers.load(experiments, cards, ours.natural, ours.exemplar)
    table = table_of(influences)
    return Section(
        title="Influence",
        template=TEMPLATE,
        anchors={} if influences.is_empty else {"influence": "Influence"},
        context={"influences": influences, "influence_rows": rows_of(influences, table), "influence_kept": kept(influences)},
        tables={} if influences.is_empty else {"utrera_influence": table, "utrera_figure7b": influences.ranks},
        drawings=list(drawings(influences, looks)),
        claims=claims.claims_of(influences),
    )


def table_of(influences: Influences) -> pd.DataFrame:
    """Every mean with its interval, what was published of the same, and the difference from the natural source on the same subsets."""
    rows = []
    for row in influences.means.to_dict("records"):
        key = row["target"], row["way"], row["measure"]
        published = influences.published(row["target"], row["source"], row["way"], row["measure"])
        gap = (np.nan,) * 3
        if row["source"] == influences.robust and influences.natural:
            found = influences.gap(*key)
            gap = interval(found["difference"].to_numpy(), found["source_model"].to_numpy())
        rows.append(row | {"published": published} | dict(zip(("difference", "difference_low", "difference_high"), gap, strict=True)))
    return pd.DataFrame(rows)


def rows_of(influences: Influences, table: pd.DataFrame) -> list[dict[str, Any]]:
    """The table as the page shows it: a row for each target, way and measure, with a mean for each source."""
    rows = []
    ways = ["", *influences.inverses, *CONTROLS] if not influences.is_empty else []
    for target in influences.targets:
        for way in ways:
            for measure in MEASURES if way else ["test"]:
                of_sources = at(table, target=target, way=way, measure=measure)
                if len(of_sources):
                    by_source = {row["source"]: row for row in of_sources.to_dict("records")}
                    name = MEASURES.get(measure, "test accuracy")
                    rows.append({"target": target, "way": influences.label(way) if way else "", "measure": name, "sources": by_source,
                                 "gap": by_source.get(influences.robust)})  # fmt: skip
    return rows


def kept(influences: Influences) -> list[tuple[str, str, str]]:
    """How many eigenvalues are above each cut, on average: cut, source, number; at the first target."""
    rows = at(influences.runs, way="kept")
    means = rows.groupby(["measure", "source"], sort=False)["value"].mean()
    return [(numbers.label_of(way), source, f"{value:.0f}") for (way, source), value in means.items()]


def drawings(influences: Influences, looks: dict[str, Look]) -> Iterator[Drawing]:
    """Figures 6, 7a and 7b of each target, where the experiment is on."""
    if influences.is_empty:
        return
    shown, ways = influences.inverses[0], {way: influences.label(way) for way in [*influences.inverses, *CONTROLS]}
    settings = influences.settings
    for target in influences.targets:
        card = sets.card_of(target)
        of_target = {source: found for (source, of), found in influences.pictures.items() if of == target}
        if of_target:
            title = f"Figure 6: the training image that helps most ({target}, {influences.label(shown)}, first subset)"
            yield Drawing(f"utrera_figure6_{target}", figures.helpful, (pictures_of(of_target, "picture/"), looks, title, card.class_names))
            title = f"Figure 7a: influence of training images on test images ({target}, {influences.label(shown)}, first subset)"
            yield Drawing(f"utrera_figure7a_{target}", figures.matrix, (pictures_of(of_target, "matrix/"), looks, title))
        ranks = at(influences.ranks, target=target)
        if len(ranks):
            title = f"Figure 7b: training images with the label of the test image, by rank ({target}, {settings['n_images']:,} images)"
            known = published_first(influences, target)
            yield Drawing(f"utrera_figure7b_{target}", figures.by_rank, (ranks, looks, ways, 100 / card.classes, known, title))


def pictures_of(found: dict[str, dict[str, np.ndarray]], start: str) -> dict[str, dict[str, np.ndarray]]:
    """Of each source the arrays whose names begin so; images small enough for a page."""
    return {
        source: {name: reduced(array) if array.ndim == 4 else array for name, array in of.items() if name.startswith(start)}
        for source, of in found.items()
    }


def published_first(influences: Influences, target: str) -> pd.DataFrame:
    """What was published of the first image, where ours is the same: way, source, value."""
    rows = [
        (way, source, value)
        for way in influences.inverses
        for source in influences.cards
        if (value := influences.published(target, source, way, "first")) is not None
    ]
    return pd.DataFrame(rows, columns=["way", "source", "value"])
