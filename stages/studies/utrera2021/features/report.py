"""What sources see: features as images (Utrera et al. 2021, Figure 1), and images from their representations; pictures, numbers, claims."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from stages.lib.report.cards import natural_of
from stages.lib.report.evidence import ABSENT, Claim, Evidence
from stages.lib.report.inversions import claims as evidence
from stages.lib.report.inversions import drawings, figures, numbers
from stages.lib.report.inversions.numbers import MEASURES, RECOGNISED, Optimised
from stages.lib.report.looks import Look
from stages.lib.report.reading import ExperimentResults
from stages.lib.report.results import Results
from stages.lib.report.section import Drawing, Section
from stages.lib.report.statistics import ACCURACY, UNBOUNDED
from stages.studies.utrera2021.features.runs import INVERT, VISUALISE

TEMPLATE = Path(__file__).with_name("features.html.j2")
CARDS = dict[str, dict[str, Any]]


def part(ours: Results, experiments: dict[str, ExperimentResults], cards: CARDS, looks: dict[str, Look]) -> Section | None:
    """This part of the section; None where neither experiment is on."""
    if not {VISUALISE, INVERT} & set(experiments):
        return None
    measured = {INVERT: tuple(MEASURES), VISUALISE: ()}
    loaded = {name: drawings.load(experiments[name], measures) for name, measures in measured.items() if name in experiments}
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
        drawings=list(_drawings(loaded, looks)),
        claims=claims(loaded, own, ours.natural, looks),
    )


def _drawings(loaded: dict[str, Optimised], looks: dict[str, Look]) -> Iterator[Drawing]:
    if INVERT in loaded:
        for draw in (drawings.of_sources, drawings.distances, drawings.by_steps):
            yield from draw(loaded[INVERT], looks, "utrera")
    if VISUALISE in loaded:
        title = f"Figure 1: images in which one of the {_layer_of(loaded)} is as strong as it can be"
        yield from drawings.of_features(loaded[VISUALISE], looks, "utrera_figure1", title)


def page_rows(found: Optimised) -> Iterator[dict[str, Any]]:
    """The table of the page: a row for each source, set and way, with the means of all measures."""
    measures = [name for name in found.images if name in MEASURES or name.startswith((RECOGNISED, *numbers.BEFORE))]
    means = {name: found.means(name, UNBOUNDED if name in MEASURES else ACCURACY).set_index(["source", *numbers.WAY]) for name in measures}
    for key in dict.fromkeys(found.images[["source", *numbers.WAY]].itertuples(index=False, name=None)):
        source, target, method, setting = key
        cells = {name: table.loc[key].to_dict() if key in table.index else None for name, table in means.items()}
        yield {"source": source, "target": target, "way": figures.way_text(method, setting), "cells": cells}


def claims(loaded: dict[str, Optimised], cards: dict[str, CARDS], results_natural: str, looks: dict[str, Look]) -> list[Claim]:
    """The claims that these pictures are evidence of; of an experiment that is off, one that was not run."""

    def of(name: str, how: Any) -> list[Evidence]:
        if name not in loaded:
            return [Evidence(f"{name}: robust and natural source", note=ABSENT)]
        natural = natural_of(cards[name], results_natural)
        return list(how(loaded[name], cards[name], natural, looks)) or [Evidence("robust and natural source", note=ABSENT)]

    by_judge = "images that a model which was trained from another seed takes for the class: robust minus natural source, paired by image"
    return [
        Claim("Images can be recovered from the representations of robust sources", "Section 5; Salman et al., Figure 1b",
              "distance from the original, in pixels (% of two images of a class) and of outlines (100 (1 - r), r the correlation of "
              "the strength of edges): natural minus robust source, paired by image",
              of(INVERT, evidence.closer), "pictures, without numbers"),
        Claim("What is recovered from robust representations shows its class", "Section 5: representations as people see them", by_judge,
              of(INVERT, evidence.recognised), "pictures, without numbers"),
        Claim("Features of robust sources look like what they stand for", "Figure 1, Appendix A.1", by_judge,
              of(VISUALISE, lambda *given: evidence.recognised(*given, method=_layer_of(loaded))), "pictures, without numbers"),
    ]  # fmt: skip


def _layer_of(loaded: dict[str, Optimised]) -> str:
    """The layer whose features were raised, which stands third in the names of all arrays."""
    return next(iter(loaded[VISUALISE].arrays)).split("/")[2]
