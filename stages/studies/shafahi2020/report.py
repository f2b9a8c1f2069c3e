"""The part of the report that reproduces Shafahi et al. (2020): Figures 1, 3 to 5 and 7, Tables 1 to 7, and the claims."""

from pathlib import Path
from typing import Any

from stages.lib.report import reading
from stages.lib.report.looks import Look
from stages.lib.report.reading import ExperimentResults
from stages.lib.report.results import Results
from stages.lib.report.section import Section
from stages.studies.shafahi2020 import claims, figures, numbers, published, tables
from stages.studies.shafahi2020.diverged import counted
from stages.studies.shafahi2020.study import SHAFAHI

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
    paper, transfers = published.load(), numbers.load(experiments, cards)
    beside = tables.all_tables(transfers, paper)
    return Section(
        title=SHAFAHI.title,
        template=TEMPLATE,
        anchors={} if transfers.is_empty else {"shafahi2020": "Robust transfer"},
        context={"transfers": transfers, "beside": beside, "diverged": counted(experiments), "unlearnt": reading.unlearnt_first(cards)},
        tables={} if transfers.is_empty else {"shafahi": tables.compared(beside, transfers.attack)},
        drawings=list(figures.drawings_of(transfers, looks)),
        claims=claims.claims_of(results, transfers, paper),
    )
