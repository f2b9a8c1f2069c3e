"""What a study adds to the report: tables, drawings, claims, and a part of the page. The report itself knows no study."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from stages.lib.report.evidence import Claim


@dataclass(frozen=True)
class Drawing:
    """A figure that is still to be drawn: `draw(*arguments)`, by a function of a module, so that another process can do it."""

    name: str  # of its files in reports/figures/
    draw: Callable[..., Figure]
    arguments: tuple


@dataclass(frozen=True)
class Section:
    """What one study says about the results."""

    title: str  # above its part of the page, and above its claims
    template: Path  # of its part of the page, HTML with Jinja
    anchors: dict[str, str] = field(default_factory=dict)  # the navigation's text by the id of what it leads to
    opening: Path | None = None  # template of the head of the page, of the one study that answers the user's question
    context: dict[str, Any] = field(default_factory=dict)  # what the templates need
    words: list[str] = field(default_factory=list)  # the answer for a terminal, a line each, of that same study
    tables: dict[str, pd.DataFrame] = field(default_factory=dict)  # by the name of their CSV files
    drawings: list[Drawing] = field(default_factory=list)
    claims: list[Claim] = field(default_factory=list)
    metrics: dict[str, Any] = field(default_factory=dict)  # for reports/metrics.json
    plots: dict[str, pd.DataFrame] = field(default_factory=dict)  # for `dvc plots`, by the name of their CSV files


def with_parts(own: Section, parts: Sequence[Section | None]) -> Section:
    """A section with its parts behind what it has itself; its template includes theirs, which are in its folder or below, by `templates`.

    Args:
        parts: None where one has nothing to show.
    """
    shown = [part for part in parts if part is not None]
    everything = [own, *shown]
    templates = [str(part.template.relative_to(own.template.parent)) for part in shown]
    return replace(
        own,
        anchors=_joined([section.anchors for section in everything]),
        context=_joined([section.context for section in everything]) | {"templates": templates},
        tables=_joined([section.tables for section in everything]),
        drawings=list(chain.from_iterable(section.drawings for section in everything)),
        claims=list(chain.from_iterable(section.claims for section in everything)),
    )


def _joined(mappings: list[dict]) -> dict:
    return dict(chain.from_iterable(mapping.items() for mapping in mappings))
