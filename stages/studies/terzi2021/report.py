"""The part of the report that reproduces Terzi et al. (2021): each of its parts has a template, figures, tables and claims of its own."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from stages.lib.report.looks import Look
from stages.lib.report.reading import ExperimentResults
from stages.lib.report.results import Results
from stages.lib.report.section import Section, with_parts
from stages.studies.terzi2021.distance import part as distance
from stages.studies.terzi2021.information import report as information
from stages.studies.terzi2021.study import TERZI
from stages.studies.terzi2021.transfer import part as transfer

TEMPLATE = Path(__file__).with_name("section.html.j2")
PARTS: tuple[Callable[..., Section | None], ...] = (transfer.part, distance.part, information.part)
"""The parts in the order of the page; each takes what `section` takes, and has nothing to show, None, where what it shows was not computed.

The template of a part lies in the folder of the study, or in one below it.
"""


def section(
    results: Results, settings: dict[str, Any], experiments: dict[str, ExperimentResults], cards: dict[str, Any], looks: dict[str, Look]
) -> Section:
    """The paper's figures, tables and claims, of all parts that have something to show.

    Args:
        settings: the sections of params.yaml by name.
        experiments: what was computed, by name.
        cards: of the sources of the experiments.
        looks: of all sources.
    """
    parts = [part(results, settings, experiments, cards, looks) for part in PARTS]
    return with_parts(Section(title=TERZI.title, template=TEMPLATE), parts)
