"""The part of the report on transfer: robust against standard sources by target and mode, and what the paper published."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from stages.lib.report.evidence import Claim
from stages.lib.report.figures import MUTED, dots, drawing, facets, legend, zero_line
from stages.lib.report.looks import Look
from stages.lib.report.reading import ExperimentResults
from stages.lib.report.results import Results, at
from stages.lib.report.section import Drawing, Section
from stages.studies.terzi2021 import published
from stages.studies.terzi2021.published import Published
from stages.studies.terzi2021.transfer import evidence
from stages.studies.terzi2021.transfer.gaps import MODES, Gaps, gaps_of, table

TEMPLATE = Path(__file__).with_name("part.html.j2")
PAPER = "Terzi et al. (AAAI 2021)"
PANELS = {"0": "the head alone", "last_norm": "mode 0: last batch norm", "norms": "mode 1: all batch norms", "all": "mode 2: every weight"}
PUBLISHED = Look("published", MUTED, "D", hollow=True)


def part(
    results: Results, settings: dict[str, Any], experiments: dict[str, ExperimentResults], cards: dict[str, Any], looks: dict[str, Look]
) -> Section | None:
    """Its figure, tables and claims, as `report.section` takes its arguments; None where no pair of sources was fine-tuned in mode 0."""
    gaps, paper = gaps_of(results), published.load()
    wanted = settings["report"].terzi2021
    if not gaps.first_mode or not {*wanted.near, *wanted.distant} & {*gaps.targets}:
        return None
    rows = table(results, gaps, paper)
    return Section(
        title="", template=TEMPLATE, anchors={"terzi2021": "Modes"},
        context={
            "transfer": rows.replace({np.nan: None}).to_dict("records"), "mode_names": MODES, "terzi": wanted,
            "paper_rows": as_published(paper),
        },
        tables={"terzi_modes": rows},
        drawings=[Drawing("terzi_modes", by_mode, (rows, gaps.targets, {name: looks[name] for name in gaps.references}))],
        claims=claims(results, gaps, paper, wanted.near, wanted.distant),
    )  # fmt: skip


def claims(results: Results, gaps: Gaps, paper: Published, near: list[str], distant: list[str]) -> list[Claim]:
    """The claims of Section 5 and Appendix F."""
    method = "robust minus standard in mode 0, on the targets that the configuration calls {}"
    sized = (
        "size of the gap in mode 0 minus that in mode 1 or 2; one half of the source models (or subsets) says its sign, the other its size"
    )
    return [
        Claim("Robust sources transfer better to distant targets in mode 0", f"{PAPER}, Section 5, Tables 1 and 2",
              method.format("distant"), list(evidence.on_targets(results, gaps, distant, 1, "distant")),
              "Tables 1 and 2: from CIFAR-10, 9.16 to 23.94 points on four targets; from ImageNet, 3.71 to 26.44 on five"),
        Claim("Standard sources transfer better to near targets in mode 0", f"{PAPER}, Section 5, Tables 1, 2 and 5",
              method.format("near"), list(evidence.on_targets(results, gaps, near, -1, "near")),
              "Tables 1, 2 and 5: CIFAR-100 to CIFAR-10 −5.71, CIFAR-10 to CINIC-ImageNet −4, ImageNet to six targets −2.33 to −22.14"),
        Claim("The difference shrinks where more is trained", f"{PAPER}, Appendix F, Tables 8 to 10 and 12",
              sized, list(evidence.smaller(results, gaps)), paper.sizes()),
    ]  # fmt: skip


def as_published(paper: Published) -> list[dict[str, Any]]:
    """The published figures: source, architecture, eps, target, and of each mode standard, robust and gap; None of modes that it lacks."""
    rows = {}
    for row in paper.tables.itertuples():
        found = rows.setdefault((row.source, row.architecture, row.eps, row.target), dict.fromkeys((0, 1, 2)))
        found[row.mode] = (row.standard, row.robust, round(row.robust - row.standard, 2))
    return [dict(zip(("source", "architecture", "eps", "target"), key, strict=True)) | {"modes": modes} for key, modes in rows.items()]


@drawing
def by_mode(rows: pd.DataFrame, targets: list[str], looks: dict[str, Look]) -> Figure:
    """Tables 8 to 10 and 12: a panel for each mode, of each target the gap of each robust source, and the published one."""
    modes = list(dict.fromkeys(rows["mode"]))
    figure, axes = facets(len(modes), "Tables 8 to 10 and 12: robust minus standard source", columns=2 if len(modes) == 4 else 3)
    ours = rows.rename(columns={"gap_mean": "mean", "gap_low": "low", "gap_high": "high"})[
        ["mode", "target", "source", "mean", "low", "high", "n"]
    ]
    theirs = rows[["mode", "target", "published_gap"]].rename(columns={"published_gap": "mean"}).dropna().assign(source="published")
    for ax, mode in zip(axes, modes, strict=True):
        dots(ax, pd.concat([at(ours, mode=mode), at(theirs, mode=mode)]), "target", targets, looks | {"published": PUBLISHED}, "source")
        ax.set(title=PANELS[mode], ylabel="points over standard" if ax.get_subplotspec().is_first_col() else "")
    for ax in axes:
        zero_line(ax)
    legend(figure, looks | {"published": PUBLISHED}, [*rows["source"], *theirs["source"]])
    return figure
