"""What the report says of detection and instance segmentation (Salman et al. 2020, Section 4.3, Figure 4): table, figures, claim."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd

from stages.lib.report.evidence import ABSENT, Claim, Evidence, over_seeds
from stages.lib.report.looks import Look
from stages.lib.report.results import row_at
from stages.lib.report.section import Drawing
from stages.studies.salman2020.detection import figures, published
from stages.studies.salman2020.detection.numbers import BY, MEASURES, Detections, of_best_robust

COLUMNS = [
    "task", "target", "detector", "measure", "source", "n", "mean", "low", "high", "difference", "difference_low", "difference_high",
    "published", "published_difference",
]  # fmt: skip


def tables(detections: Detections) -> dict[str, pd.DataFrame]:
    """The AP of each source, its difference from the natural one, and what was published of the same."""
    return {} if detections.is_empty else {"salman_detection": pd.DataFrame(_rows(detections), columns=COLUMNS)}


def _rows(detections: Detections) -> Iterator[tuple]:
    theirs = published.load()
    for panel in detections.panels:
        known = published.beside(theirs, detections, panel)
        task, target, measure = panel
        where = dict(zip(BY, panel, strict=True))
        for source in detections.cards:
            mean, gain = row_at(detections.means, **where, source=source), row_at(detections.gains, **where, source=source)
            difference = [np.nan] * 3 if gain is None else gain[["mean", "low", "high"]].tolist()
            kind = "natural" if source == detections.natural else "robust" if source in detections.robust else "other"
            yield (
                task, target, detections.tasks[task]["detector"], measure, source, *mean[["n", "mean", "low", "high"]], *difference,
                known.get(kind, np.nan), known.get("difference", np.nan) if kind == "robust" else np.nan,
            )  # fmt: skip


def rows_of_page(detections: Detections) -> list[dict[str, Any]]:
    """The table as the page shows it: a row for each source, below the name of its comparison."""
    theirs, rows = published.load(), []
    for panel in detections.panels:
        where, known = dict(zip(BY, panel, strict=True)), published.beside(theirs, detections, panel)
        for source in detections.cards:
            kind = "natural" if source == detections.natural else "robust" if source in detections.robust else ""
            rows.append({
                "comparison": title_of(panel), "source": source, "mean": row_at(detections.means, **where, source=source),
                "gain": row_at(detections.gains, **where, source=source), "published": known.get(kind),
            })  # fmt: skip
    return rows


def title_of(panel: tuple[str, str, str]) -> str:
    """What a comparison is called: `voc on voc0712, box AP`."""
    task, target, measure = panel
    return f"{task} on {target}, {MEASURES[measure]}"


def drawings(detections: Detections, looks: dict[str, Look]) -> Iterator[Drawing]:
    """The figures, where the experiment is on. `looks` are of the sources."""
    if detections.is_empty:
        return
    if len(detections.gains):
        theirs = published.load()
        known = {title_of(panel): published.beside(theirs, detections, panel).get("difference") for panel in detections.panels}
        gains = detections.gains.assign(panel=[title_of(panel) for panel in detections.gains[BY].itertuples(index=False, name=None)])
        yield Drawing("salman_figure4", figures.gains, (gains, looks, known))
    for task, target in dict.fromkeys((task, target) for task, target, _ in detections.panels):
        shown = figures.of_task(detections.arrays, list(detections.cards), task, target)
        if shown:
            title = f"Detections of {task} on test images of {target}"
            yield Drawing(f"salman_detections_{task}", figures.detections, (shown, looks, title))


def claims(detections: Detections) -> list[Claim]:
    """The claim of Section 4.3, whether the experiment is on or not."""
    evidence = [_of_panel(detections, panel) for panel in detections.panels]
    nothing = Evidence("robust minus natural source as the backbone of a detector", note=ABSENT)
    return [
        Claim(
            "Gains carry over to object detection and instance segmentation", "Salman et al. (NeurIPS 2020), Section 4.3, Figure 4",
            "AP over IoU 0.5 to 0.95: best robust source minus natural, paired; half of the source models (of one: of the seeds) chooses, "
            "the other half measures",
            evidence or [nothing], published.text(published.load()),
        )
    ]  # fmt: skip


def _of_panel(detections: Detections, panel: tuple[str, str, str]) -> Evidence:
    several = len(detections.robust) > 1
    name = f"{title_of(panel)}: {f'best of {len(detections.robust)} robust sources' if several else 'robust'} minus natural"
    if detections.natural is None or not detections.robust:
        return Evidence(name, note=ABSENT)
    differences = of_best_robust(detections, panel)
    if several and len(differences) == 1:
        name += ", chosen by the run that it is measured on"
    return over_seeds(name, differences, counted="paired seeds")
