"""The part of the report on distance: the gap in mode 0 against the earth mover's distance of the target."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from stages.lib.report import evidence
from stages.lib.report.evidence import ABSENT, Claim, Evidence
from stages.lib.report.figures import PAPER, drawing, facets, legend, point_text, zero_line
from stages.lib.report.looks import Look, looks_of_targets
from stages.lib.report.reading import ExperimentResults
from stages.lib.report.results import Results, at
from stages.lib.report.section import Drawing, Section
from stages.lib.report.statistics import MIN_MODELS
from stages.lib.report.web import svg
from stages.studies.terzi2021 import published
from stages.studies.terzi2021.distance import numbers
from stages.studies.terzi2021.distance.runs import MEASURE_DISTANCE
from stages.studies.terzi2021.transfer import evidence as of_modes
from stages.studies.terzi2021.transfer.gaps import Gaps, gaps_of

TEMPLATE = Path(__file__).with_name("part.html.j2")


def part(
    results: Results, settings: dict[str, Any], experiments: dict[str, ExperimentResults], cards: dict[str, Any], looks: dict[str, Look]
) -> Section | None:
    """Its figure, table and claim, as `report.section` takes its arguments; None where no distance was measured, or there is no pair."""
    gaps = gaps_of(results)
    found = numbers.points(gaps, experiments[MEASURE_DISTANCE]) if MEASURE_DISTANCE in experiments else pd.DataFrame()
    if found.empty:
        return None
    means, correlations = numbers.means(found), numbers.correlations(found)
    wanted, shown = settings["report"].terzi2021, correlations.assign(models=correlations["of_models"].map(len))
    return Section(
        title="", template=TEMPLATE, anchors={"terzi-distance": "Distance"},
        context={
            "distance_rows": shown.to_dict("records"), "distance_means": means.to_dict("records"),
            "cui": at(published.load().distances, source="ImageNet_train").sort_values("emd").to_dict("records"),
        },
        tables={"terzi_distance": means, "terzi_spearman": shown.drop(columns="of_models")},
        drawings=[Drawing("terzi_distance", against_distance, (means, {name: results.labels[name] for name in gaps.references}))],
        claims=[claim(results, gaps, correlations, wanted.near, wanted.distant)],
    )  # fmt: skip


def claim(results: Results, gaps: Gaps, correlations: pd.DataFrame, near: list[str], distant: list[str]) -> Claim:
    """That the gap grows with the distance."""
    return Claim(
        "The further the target, the more robust sources gain in mode 0",
        "Terzi et al. (AAAI 2021), Section 5, Figures 3, 7 and 8",
        "Spearman's correlation over targets (in hundredths) of robust minus standard with the earth mover's distance, by source model; "
        "and the gap on distant minus that on near targets, in points",
        [*_ranked(results, correlations), *of_modes.apart(results, gaps, near, distant)],
        "figures, without numbers; their distances are of features that the paper does not name",
    )


def _ranked(results: Results, correlations: pd.DataFrame) -> Iterator[Evidence]:
    if correlations.empty:
        yield Evidence("distances", note=ABSENT)
    for row in correlations.itertuples():
        name = f"{results.labels[row.source]}, features of the {row.features} source: correlation over {row.targets} targets"
        if len(row.of_models) >= MIN_MODELS:
            yield evidence.over_models(name, [100 * value for value in row.of_models])
        elif row.rho == row.rho:  # not NaN
            note = "" if row.p == row.p else "too few targets for an interval"
            yield Evidence(name, 100 * row.rho, 100 * row.low, 100 * row.high, row.targets, "targets", p=row.p, note=note)


@drawing
def against_distance(means: pd.DataFrame, labels: dict[str, str]) -> Figure:
    """Figures 3, 7 and 8: a panel for each robust source and the source whose features measure the distance; a point for each target."""
    panels = [(source, features) for source in labels for features in numbers.FEATURES if len(at(means, source=source, features=features))]
    looks = looks_of_targets(list(dict.fromkeys(means["target"])))
    figure, axes = facets(len(panels), "Figures 3, 7 and 8: gap in mode 0 against the distance of the target", columns=4, height=3.1)
    for ax, (source, features) in zip(axes, panels, strict=True):
        rows = at(means, source=source, features=features)
        for row in rows.to_dict("records"):
            look = looks[row["target"]]
            ax.vlines(row["emd"], row["low"], row["high"], color=look.colour, linewidth=1.4)
            [drawn] = ax.plot([row["emd"]], [row["mean"]], look.marker, color=look.colour, markeredgecolor=PAPER, markersize=7)
            drawn.set_gid(svg.points([f"{point_text(look, row)}, distance {row['emd']:.3g}"]))
        ax.set(title=f"{labels[source]},\nby {features} features", xlabel="earth mover's distance")
        ax.set_ylabel("robust minus standard (points)" if ax.get_subplotspec().is_first_col() else "")
    for ax in axes:
        zero_line(ax)
    legend(figure, looks, means["target"])
    return figure
