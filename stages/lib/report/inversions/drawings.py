"""Which figures there are of images that were optimised, for any study that shows them; a study gives its figures a prefix."""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import pandas as pd

from stages.lib.networks.sources import count
from stages.lib.report.inversions import figures, numbers
from stages.lib.report.inversions.figures import PLAIN, Row
from stages.lib.report.inversions.numbers import LEVELS, MEASURES, RECOGNISED, Optimised
from stages.lib.report.looks import Look
from stages.lib.report.reading import ExperimentResults
from stages.lib.report.results import at
from stages.lib.report.section import Drawing
from stages.lib.report.statistics import ACCURACY

Looks = Mapping[str, Look]
BELOW = "below each, its distance in pixels | in features (%)"
TITLES = {
    "pixel": "Pixels [% of two images of a class]",
    "outline": "Outlines [100 (1 − correlation)]",
    "feature": "Features [% of length]",
}


def load(found: ExperimentResults, measures: Sequence[str] = tuple(MEASURES)) -> Optimised:
    """The results of an experiment, image by image, as `numbers.load` has them; of features that are raised there are no distances: ()."""
    return numbers.load(found.arrays, {source: count(source) for source in found.runs["source"].unique()}, measures)


def of_sources(found: Optimised, looks: Looks, prefix: str, sources: Sequence[str] | None = None) -> Iterator[Drawing]:
    """For each set: the inversions of each source without noise (Salman et al. 2020, Figure 1b; Terzi et al. 2021, Figure 9)."""
    for target in found.images["target"].unique():
        if rows := picture_rows(found, target, _only(looks, sources)):
            yield Drawing(f"{prefix}_inversions_{target}", figures.panels, (rows, f"Inversions of {target}: {BELOW}"))


def of_ways(found: Optimised, looks: Looks, prefix: str, source: str) -> Iterator[Drawing]:
    """For each set: the inversions of one source without noise, with noise drawn once, and drawn anew (Terzi et al. 2021, Figure 1)."""
    for target in found.images["target"].unique():
        if rows := picture_rows(found, target, {source: looks[source]}, found.ways):
            title = f"Inversions of {target}, {looks[source].label}: {BELOW}"
            yield Drawing(f"{prefix}_ways_{target}_{source}", figures.panels, (rows, title))


def distances(found: Optimised, looks: Looks, prefix: str) -> Iterator[Drawing]:
    """For each set: distances and what judges recognise, against the source."""
    for target in found.images["target"].unique():
        panels = {}
        for name, title in TITLES.items():
            levels = [at(found.means(level), target=target, method=PLAIN).assign(method=MEASURES[level]) for level in LEVELS[name]]
            panels[title] = pd.concat([at(found.means(name), target=target), *levels], ignore_index=True)
        for judge in found.judges:
            means = at(found.means(RECOGNISED + judge, ACCURACY), target=target)
            if len(means):
                panels[f"Recognised by another {looks[judge].label if judge in looks else judge} [%]"] = means
        title = f"How far inversions of {target} are from the original"
        yield Drawing(f"{prefix}_inversion_distances_{target}", figures.against_sources, (panels, looks, title))


def by_steps(found: Optimised, looks: Looks, prefix: str) -> Iterator[Drawing]:
    """For each set: the distance of features against the number of steps (Terzi et al. 2021, Figure 2)."""
    curves = found.curves()
    for target in curves["target"].unique():
        arguments = (at(curves, target=target), looks, f"Inversions of {target}, step by step")
        yield Drawing(f"{prefix}_inversion_steps_{target}", figures.by_steps, arguments)


def of_features(found: Optimised, looks: Looks, name: str, title: str, sources: Sequence[str] | None = None) -> Iterator[Drawing]:
    """What each source has made of the starts, a column for each feature (Utrera et al. 2021, Figure 1; Salman et al. 2020, Figure 1a)."""
    rows: list[Row] = []
    for source, look in _only(looks, sources).items():
        pictures = found.first(source)
        if "after" in pictures:
            rows = rows or [Row("start", pictures["before"], [])]
            texts = [str(k) for k in pictures["feature_shown"].tolist()]
            rows.append(Row(look.label, pictures["after"], texts, look.colour))
    if rows:
        yield Drawing(name, figures.panels, (rows, title))


def picture_rows(found: Optimised, target: str, looks: Looks, ways: Sequence[tuple[str, float]] = ((PLAIN, 0.0),)) -> list[Row]:
    """The originals, and below them the inversions of each source in each of these ways; empty where no picture was kept."""
    rows: list[Row] = []
    for source, look in looks.items():
        for method, setting in ways:
            pictures = found.first(source, target, method, setting)
            if "inversion" in pictures:
                rows = rows or [Row("original", pictures["original"], [])]
                label = figures.way_text(method, setting) if len(looks) == 1 else look.label
                texts = distance_texts(*(pictures[name][pictures["place"]] for name in ("pixel", "feature")))
                rows.append(Row(label, pictures["inversion"], texts, look.colour))
    return rows


def distance_texts(pixel: np.ndarray, feature: np.ndarray) -> list[str]:
    """Below an inversion: its distance in pixels, then in features, in percent: `62 | 4.1`."""
    return [f"{p:.0f} | {f:.1f}" for p, f in zip(pixel, feature, strict=True)]


def _only(looks: Looks, sources: Sequence[str] | None) -> Looks:
    return {name: look for name, look in looks.items() if sources is None or name in sources}
