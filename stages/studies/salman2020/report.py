"""The part of the report that reproduces Salman et al. (2020): detection and instance segmentation (Figure 4), and the claim about it."""

from pathlib import Path
from typing import Any

from stages.lib.report.looks import Look
from stages.lib.report.reading import ExperimentResults
from stages.lib.report.results import Results
from stages.lib.report.section import Section
from stages.studies.salman2020.detection import numbers
from stages.studies.salman2020.detection import report as detection
from stages.studies.salman2020.study import SALMAN

TEMPLATE = Path(__file__).with_name("section.html.j2")


def section(
    results: Results, settings: dict[str, Any], experiments: dict[str, ExperimentResults], cards: dict[str, Any], looks: dict[str, Look]
) -> Section:
    """The paper's figures, tables and claims, as far as its experiments are on.

    Args:
        settings: the sections of params.yaml by name.
        experiments: what was computed, by name.
        cards: of the sources of the experiments.
        looks: of all sources.
    """
    detected = numbers.load(experiments, cards, results.natural)
    return Section(
        title=SALMAN.title,
        template=TEMPLATE,
        anchors={} if detected.is_empty else {"detection": "Detection"},
        context={"detected": detected, "detection_rows": detection.rows_of_page(detected)},
        tables=detection.tables(detected),
        drawings=list(detection.drawings(detected, looks)),
        claims=[] if detected.is_empty else detection.claims(detected),
    )
