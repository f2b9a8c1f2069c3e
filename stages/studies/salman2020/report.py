"""The part of the report that reproduces Salman et al. (2020): Figures 2 to 8, Tables 1 and 2, the best radii, and the claims."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from stages.lib.report.cards import family_of, threat_of
from stages.lib.report.inversions import drawings as inversions
from stages.lib.report.looks import Look
from stages.lib.report.reading import ExperimentResults
from stages.lib.report.results import Results
from stages.lib.report.section import Drawing, Section
from stages.studies.salman2020 import claims, figures, numbers, published
from stages.studies.salman2020.detection import numbers as detections
from stages.studies.salman2020.detection import report as detection
from stages.studies.salman2020.results import MODE_NAMES, as_in_paper
from stages.studies.salman2020.study import SALMAN

TEMPLATE = Path(__file__).with_name("section.html.j2")
TABLES = {  # by the name of their CSV files: the field of `Numbers`
    "salman_best_radius": "best", "salman_table1": "table1", "salman_accuracy": "accuracy", "salman_gains": "gains",
    "salman_table2": "table2", "salman_figure8a": "textures", "salman_figure8b": "by_texture",
}  # fmt: skip
SHOWN = ("best", "table1", "table2")  # those that the page shows as tables


def section(
    results: Results, settings: dict[str, Any], experiments: dict[str, ExperimentResults], cards: dict[str, Any], looks: dict[str, Look]
) -> Section:
    """The paper's figures, tables and claims: where one architecture has a grid of radii, and where detectors were trained.

    Args:
        settings: the sections of params.yaml by name.
        experiments: what was computed, by name.
        cards: of the sources of the experiments.
        looks: of all sources.
    """
    ours, paper = as_in_paper(results, settings["report"].salman2020), published.load()
    found = numbers.load(ours, paper) if ours.has_grid else None
    rows = {name: getattr(found, name).replace({np.nan: None}).to_dict("records") for name in SHOWN} if found else None
    tables = {file: getattr(found, name) for file, name in TABLES.items() if len(getattr(found, name))} if found else {}
    detected = detections.load(experiments, cards, results.natural)
    pictures = list(_figure1(experiments, cards, looks))
    return Section(
        title=SALMAN.title,
        template=TEMPLATE,
        anchors=({"salman2020": "Which radius"} if found else {}) | ({} if detected.is_empty else {"detection": "Detection"})
        | ({"salman_figure1": "Figure 1"} if pictures else {}),
        context={
            "numbers": rows, "salman": ours, "paper": paper, "modes": {mode: MODE_NAMES[mode] for mode in ours.modes},
            "detected": detected, "detection_rows": detection.rows_of_page(detected),
        },
        tables=tables | detection.tables(detected),
        drawings=[*(figures.drawings_of(ours, found, looks) if found else []), *detection.drawings(detected, looks), *pictures],
        claims=[*(claims.claims_of(ours, paper) if found else []), *([] if detected.is_empty else detection.claims(detected))],
    )  # fmt: skip


def _figure1(experiments: dict[str, ExperimentResults], cards: dict[str, Any], looks: dict[str, Look]) -> Iterator[Drawing]:
    """Figure 1: (a) features and (b) inversions of natural sources, and of the robust one with the largest L2 radius; where they are on."""
    for name in ("visualise", "invert"):
        if name not in experiments:
            continue
        own = {source: cards[source] for source in experiments[name].runs["source"].unique()}
        robust = [source for source, card in own.items() if family_of(card) == "l2"]
        shown = [*(s for s in own if family_of(own[s]) == "natural"), *sorted(robust, key=lambda s: threat_of(own[s])["eps"])[-1:]]
        if name == "visualise":
            found = inversions.load(experiments[name], ())
            yield from inversions.of_features(found, looks, "salman_figure1a", "Figure 1a: features", shown)
        else:
            yield from inversions.of_sources(inversions.load(experiments[name]), looks, "salman_figure1b", shown)
