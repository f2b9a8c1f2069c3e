"""The part of the report that reproduces Utrera et al. (2021): Figures 2 to 5, 8, 10 and 11, Table 7, and the claims."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from stages.lib.report.looks import Look
from stages.lib.report.reading import ExperimentResults
from stages.lib.report.results import Results
from stages.lib.report.section import Drawing, Section, with_parts
from stages.studies.utrera2021 import authors, claims, figures, numbers, published, table7
from stages.studies.utrera2021.features import report as features
from stages.studies.utrera2021.influence import report as influence
from stages.studies.utrera2021.published import Published
from stages.studies.utrera2021.results import UtreraResults, as_in_paper
from stages.studies.utrera2021.shape import report as shape
from stages.studies.utrera2021.study import UTRERA

TEMPLATE = Path(__file__).with_name("section.html.j2")
ANCHORS = {  # the navigation's text, and the figures of which one has to be drawn
    "accuracy": ("Few or many images", {"figure2", "published"}), "epochs": ("Speed", {"figure3_10"}), "blocks": ("Blocks", {"figure4"}),
    "constraints": ("Constraints", {"figure5"}), "perturbations": ("Perturbations", {"figure8"}),
}  # fmt: skip
PARTS = (shape.part, influence.part, features.part)  # of Sections 5 and 6: each a `Section`, or None where it has nothing


def section(
    results: Results, settings: dict[str, Any], experiments: dict[str, ExperimentResults], cards: dict[str, Any], looks: dict[str, Look]
) -> Section:
    """The paper's figures, table and claims from these results.

    Args:
        settings: the sections of params.yaml by name.
        experiments: what was computed, by name.
        cards: of the sources of the experiments.
        looks: of all sources.
    """
    ours, paper = as_in_paper(results, settings["report"].utrera2021), published.load(results.targets)
    of_figures = numbers.all_figures(ours, authors.results_of_authors(ours, paper))
    seven = table7.table7(ours, paper.table7, paper.seeds)
    drawings = list(_drawings(ours, of_figures, paper, looks))
    drawn = {drawing.name for drawing in drawings}
    shown = {anchor: text for anchor, (text, names) in ANCHORS.items() if names & drawn}
    own = Section(
        title=UTRERA.title,
        template=TEMPLATE,
        anchors=shown | {"table7": "Table 7"},
        context={
            "results": ours, "paper": of_figures, "shown": shown, "table7": table7.rows_of(seven), "order": table7.order_of(ours),
            "agreement": table7.agreement(seven),
        },
        tables={"table7": seven} | {name: figure.table for name, figure in of_figures.items() if len(figure.table)},
        drawings=drawings,
        claims=claims.claims_of(ours, paper),
    )  # fmt: skip
    return with_parts(own, [part(ours, experiments, cards, looks) for part in PARTS])


def _drawings(
    results: UtreraResults, of_figures: dict[str, numbers.Numbers], paper: Published, looks: dict[str, Look]
) -> Iterator[Drawing]:
    """The figures that this configuration has, and of Table 7 as published, where none of ours stands beside it."""
    by_label = {looks[name].label: looks[name] for name in results.cards}
    for name, figure in of_figures.items():
        if len(figure.table):
            yield Drawing(name, figures.draw, (name, figure, by_label, results.targets))
    if not (of_figures["figure2"].table["whose"] == numbers.AUTHORS).any():
        title = "Published (Utrera et al., Table 7): L2 3 minus natural, ImageNet ResNet-50, 3 blocks"
        yield Drawing("published", figures.published, (paper.table7, title))
