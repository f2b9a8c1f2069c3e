"""The part of the report on inversions: Figures 1, 2 and 9 of Terzi et al. (2021), how near the inversions are, and the claims."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from stages.lib.report.cards import natural_of
from stages.lib.report.figures import drawing, facets, legend, lines
from stages.lib.report.inversions import drawings
from stages.lib.report.inversions.figures import PLAIN, looks_of_ways, way_text
from stages.lib.report.inversions.numbers import Optimised
from stages.lib.report.looks import Look
from stages.lib.report.reading import ExperimentResults
from stages.lib.report.results import Results
from stages.lib.report.section import Drawing, Section
from stages.studies.terzi2021.inversions.claims import claims_of
from stages.studies.terzi2021.radii import radii

INVERT = "invert"  # the experiment, which the study of Utrera et al. (2021) brings
TEMPLATE = Path(__file__).with_name("part.html.j2")
PREFIX = "terzi"  # of the names of its figures


def part(
    results: Results, settings: dict[str, Any], experiments: dict[str, ExperimentResults], cards: dict[str, Any], looks: dict[str, Look]
) -> Section | None:
    """Its figures, tables and claims, as `report.section` takes its arguments; None without a natural source and a robust one like it."""
    if INVERT not in experiments:
        return None
    everything = drawings.load(experiments[INVERT])
    own = {name: cards[name] for name in everything.images["source"].unique()}
    chosen = radii(own, natural_of(own, results.natural))
    if len(chosen) < 2:
        return None
    found = of_sources(everything, chosen)
    curves = found.curves()
    return Section(
        title="", template=TEMPLATE, anchors={"terzi-inversions": "Inversions"},
        context={"inversion_targets": list(found.images["target"].unique()), "has_noise": len(found.ways) > 1},
        tables={"terzi_inversions": found.summary().assign(eps=lambda rows: rows["source"].map(chosen)), "terzi_inversion_steps": curves},
        drawings=list(_drawings(found, chosen, looks)),
        claims=claims_of(found, chosen, looks),
    )  # fmt: skip


def of_sources(found: Optimised, chosen: Mapping[str, float]) -> Optimised:
    """The inversions of these sources alone, in their order."""
    rows = pd.concat([found.images[found.images["source"] == name] for name in chosen], ignore_index=True)
    return replace(found, images=rows, arrays={key: array for key, array in found.arrays.items() if key.split("/", 1)[0] in chosen})


def _drawings(found: Optimised, chosen: Mapping[str, float], looks: Mapping[str, Look]) -> Iterator[Drawing]:
    if len(found.ways) > 1:
        for source in (next(iter(chosen)), list(chosen)[-1]):
            yield from drawings.of_ways(found, looks, PREFIX, source)
    in_order = {name: looks[name] for name in chosen}
    yield from drawings.by_steps(found, in_order, PREFIX)
    yield from drawings.of_sources(found, in_order, PREFIX)
    for target in found.images["target"].unique():
        panels = drawings.measured(found, looks, target)
        yield Drawing(
            f"{PREFIX}_inversion_eps_{target}", by_eps, (panels, dict(chosen), f"How far inversions of {target} are from the original")
        )


@drawing
def by_eps(panels: Mapping[str, pd.DataFrame], chosen: Mapping[str, float], title: str) -> Figure:
    """The number behind Figure 9: a panel for each measure against the radius of the source, a line for each way of inversion.

    Args:
        panels: by the title of a panel, which ends with its unit in brackets, as `drawings.measured` gives them.
        chosen: eps by source.
    """
    shown = {name: table.assign(eps=table["source"].map(chosen), way=_ways(table)) for name, table in panels.items()}
    ways = list(dict.fromkeys(way for table in shown.values() for way in table["way"]))
    looks = looks_of_ways(ways)
    figure, axes = facets(len(shown), title, columns=3, sharey=False)
    for ax, (name, table) in zip(axes, shown.items(), strict=True):
        lines(ax, table.drop(columns="setting"), "eps", looks, "way")
        ax.set(title=name.rpartition(" [")[0], ylabel=name.rpartition(" [")[2].rstrip("]"), xlabel="eps of the source (0: natural)")
    legend(figure, looks, ways, columns=4)
    return figure


def _ways(table: pd.DataFrame) -> list[str]:
    ways = table[["method", "setting"]].itertuples(index=False, name=None)
    return [way_text(method, setting if method != PLAIN else 0.0) for method, setting in ways]
