"""What a study adds to the report: tables, drawings, claims, and a part of the page. The report itself knows no study."""

from collections.abc import Callable
from dataclasses import dataclass, field
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
