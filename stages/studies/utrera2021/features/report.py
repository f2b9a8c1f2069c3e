"""What sources see: features as images (Utrera et al. 2021, Figure 1), and images from their representations; pictures, numbers, claims."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from stages.lib.networks.sources import count
from stages.lib.report.evidence import ABSENT, Claim, Evidence
from stages.lib.report.inversions import claims as evidence
from stages.lib.report.inversions import figures, numbers
from stages.lib.report.inversions.figures import PLAIN, Row
from stages.lib.report.inversions.numbers import LEVELS, MEASURES, RECOGNISED, Optimised
from stages.lib.report.looks import Look
from stages.lib.report.reading import ExperimentResults
from stages.lib.report.results import Results, at
from stages.lib.report.section import Drawing, Section
from stages.lib.report.statistics import ACCURACY
from stages.studies.utrera2021.features.runs import INVERT, VISUALISE

TEMPLATE = Path(__file__).with_name("features.html.j2")
CARDS = dict[str, dict[str, Any]]


def section(
    results: Results, settings: dict[str, Any], experiments: dict[str, ExperimentResults], cards: CARDS, looks: dict[str, Look]
) -> Section | None:
    """This part of the section; None where neither experiment is on. The arguments are those of the study's section."""
    if not {VISUALISE, INVERT} & set(experiments):
        return None
    loaded = {name: load(experiments[name]) for name in (INVERT, VISUALISE) if name in experiments}
    own = {name: {source: cards[source] for source in found.images["source"].unique()} for name, found in loaded.items()}
    rows = {f"features_{name}": list(page_rows(found)) for name, found in loaded.items()}
    tables = {f"utrera_{name}": found.summary() for name, found in loaded.items()}
    tables |= {"utrera_invert_steps": loaded[INVERT].curves()} if INVERT in loaded else {}
    return Section(
        title="",
        template=TEMPLATE,
        anchors={"features": "What they see"},
        context={"features_invert": [], "features_visualise": []} | rows,
        tables=tables,
        drawings=[
            *(inversion_drawings(loaded[INVERT], looks) if INVERT in loaded else []),
            *(feature_drawings(loaded[VISUALISE], looks, experiments[VISUALISE].settings["layer"]) if VISUALISE in loaded else []),
        ],
        claims=claims(loaded, own, results.natural, looks),
    )


def load(found: ExperimentResults) -> Optimised:
    return numbers.load(found.arrays, {source: count(source) for source in found.runs["source"].unique()})


def inversion_drawings(found: Optimised, looks: dict[str, Look], prefix: str = "utrera") -> Iterator[Drawing]:
    """For each set: the pictures of each source, distances and recognition by source, and the course of the distance by steps."""
    for target in found.images["target"].unique():
        rows = picture_rows(found, target, looks)
        if rows:
            title = f"Inversions of {target}: below each, its distance in pixels | in features (%)"
            yield Drawing(f"{prefix}_inversions_{target}", figures.panels, (rows, title))
        yield Drawing(
            f"{prefix}_inversion_distances_{target}", figures.against_sources,
            (measures_of(found, target, looks), looks, f"How far inversions of {target} are from the original"),
        )  # fmt: skip
        curves = at(found.curves(), target=target)
        yield Drawing(f"{prefix}_inversion_steps_{target}", figures.by_steps, (curves, looks, f"Inversions of {target}, step by step"))


def picture_rows(found: Optimised, target: str, looks: dict[str, Look], ways: tuple[tuple[str, float], ...] = ((PLAIN, 0.0),)) -> list[Row]:
    """The originals, and below them the inversions of each source in each of these ways; empty where no picture was kept."""
    rows: list[Row] = []
    for source in (name for name in looks if name in set(found.images["source"])):
        for method, setting in ways:
            pictures = found.pictures(source, target, method, setting)
            if pictures is not None:
                rows = rows or [Row("original", pictures["original"], [])]
                label = looks[source].label + (f", {figures.way_text(method, setting)}" if len(ways) > 1 else "")
                rows.append(Row(label, pictures["inversion"], figures.distance_texts(pictures), looks[source].colour))
    return rows


def measures_of(found: Optimised, target: str, looks: dict[str, Look]) -> dict[str, pd.DataFrame]:
    """The panels of `figures.against_sources`: distances, with those of the start and of an image of grey, and what judges recognise."""
    titles = {
        "pixel": "Pixels [% of two images of a class]",
        "outline": "Outlines [100 (1 − correlation)]",
        "feature": "Features [% of length]",
    }
    panels = {}
    for name, title in titles.items():
        levels = [at(found.means(level), target=target, method=PLAIN).assign(method=MEASURES[level]) for level in LEVELS[name]]
        panels[title] = pd.concat([at(found.means(name), target=target), *levels], ignore_index=True)
    for judge in found.judges:
        means = at(found.means(RECOGNISED + judge, ACCURACY), target=target)
        if len(means):
            panels[f"Recognised by another {looks[judge].label if judge in looks else judge} [%]"] = means
    return panels


def feature_drawings(found: Optimised, looks: dict[str, Look], layer: str) -> Iterator[Drawing]:
    """Figure 1: what each source has made of the starts, a column for each feature, and below it how it is called."""
    rows: list[Row] = []
    for source in (name for name in looks if name in set(found.images["source"])):
        start = f"{source}/"
        named = {key.split("/")[-1]: array for key, array in found.arrays.items() if key.startswith(start) and key.split("/")[4] == "0"}
        if "after" in named:
            rows = rows or [Row("start", named["before"], [])]
            texts = [f"{layer.removesuffix('es').removesuffix('s')} {k}" for k in named["feature_shown"].tolist()]
            rows.append(Row(looks[source].label, named["after"], texts, looks[source].colour))
    if rows:
        yield Drawing("utrera_figure1", figures.panels, (rows, "Figure 1: images in which a feature is as strong as it can be"))


def page_rows(found: Optimised) -> Iterator[dict[str, Any]]:
    """The table of the page: a row for each source, set and way, with the means of all measures."""
    measures = [name for name in found.images if name in MEASURES or name.startswith((RECOGNISED, *numbers.BEFORE))]
    means = {name: found.means(name).set_index(["source", *numbers.WAY]) for name in measures}
    for key in dict.fromkeys(found.images[["source", *numbers.WAY]].itertuples(index=False, name=None)):
        source, target, method, setting = key
        cells = {name: table.loc[key].to_dict() if key in table.index else None for name, table in means.items()}
        yield {"source": source, "target": target, "way": figures.way_text(method, setting), "cells": cells}


def claims(loaded: dict[str, Optimised], cards: dict[str, CARDS], results_natural: str, looks: dict[str, Look]) -> list[Claim]:
    """The claims that these pictures are evidence of; of an experiment that is off, one that was not run."""

    def of(name: str, how: Any) -> list[Evidence]:
        if name not in loaded:
            return [Evidence(f"{name}: robust and natural source", note=ABSENT)]
        natural = evidence.natural_of(cards[name], results_natural)
        return list(how(loaded[name], cards[name], natural, looks)) or [Evidence("robust and natural source", note=ABSENT)]

    by_judge = "images that a model which was trained from another seed takes for the class: robust minus natural source, paired by image"
    return [
        Claim("Images can be recovered from the representations of robust sources", "Section 5; Salman et al., Figure 1b",
              "distance from the original, in pixels (% of that of two images of a class) and of outlines (100 (1 - r), r the correlation of "
              "the strength of edges): natural minus robust source, paired by image",
              of(INVERT, evidence.closer), "pictures, without numbers"),
        Claim("What is recovered from robust representations shows its class", "Section 5: representations as people see them", by_judge,
              of(INVERT, evidence.recognised), "pictures, without numbers"),
        Claim("Features of robust sources look like what they stand for", "Figure 1, Appendix A.1", by_judge,
              of(VISUALISE, lambda *given: evidence.recognised(*given, method=_layer_of(loaded))), "pictures, without numbers"),
    ]  # fmt: skip


def _layer_of(loaded: dict[str, Optimised]) -> str:
    return str(np.unique(loaded[VISUALISE].images["method"])[0])
