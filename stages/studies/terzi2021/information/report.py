"""The part of the report on information: Figures 4 to 6 of Terzi et al. (2021), the check of Lemma 5.1, and the claims."""

from pathlib import Path
from typing import Any

import numpy as np

from stages.lib.information.weight_norm import NORM
from stages.lib.report.looks import Look
from stages.lib.report.reading import ExperimentResults
from stages.lib.report.results import Results, row_at
from stages.lib.report.section import Section
from stages.studies.terzi2021.information import claims, figures, numbers
from stages.studies.terzi2021.information.numbers import Information
from stages.studies.terzi2021.information.runs import INFORMATION

TEMPLATE = Path(__file__).with_name("information.html.j2")
COLUMNS = {  # of the table on the page, by measure: its head, and how a value is written
    "fisher_w": ("tr F of weights", "{:.3g}"), "log_variance": ("mean ln variance", "{:.2f}"), NORM: ("norm of weights", "{:.1f}"),
    "fisher_z": ("tr F of z", "{:.3g}"), "fisher_z_relative": ("relative", "{:.3g}"), "fisher_linear": ("tr F of Az + b", "{:.3g}"),
    "fisher_y": ("tr F of the label", "{:.3g}"),
}  # fmt: skip


def part(
    results: Results, settings: dict[str, Any], experiments: dict[str, ExperimentResults], cards: dict[str, Any], looks: dict[str, Look]
) -> Section | None:
    """What the section of the study shows of information; None where the experiment is off. Arguments as those of the section."""
    information = numbers.load(experiments, cards, results.natural)
    if information.is_empty:
        return None
    summary, norms, layers = numbers.summary(information), numbers.norms(information), numbers.layers(information)
    tables = {"terzi_information": summary, "terzi_log_variances": layers, "terzi_norms": norms}
    return Section(
        title="Information",
        template=TEMPLATE,
        anchors={"information": "Information"},
        context={
            "information": information, "information_rows": rows_of_page(information), "information_heads": heads_of(information),
            "information_settings": experiments[INFORMATION].settings, "has_norms_by_epoch": bool(len(norms)),
        },
        tables={name: table for name, table in tables.items() if len(table)},
        drawings=list(figures.drawings_of(information, looks)),
        claims=claims.claims_of(information),
    )  # fmt: skip


def heads_of(information: Information) -> list[str]:
    """The heads of the columns of the table, of measures that were computed."""
    computed = set(information.runs["measure"])
    return [head for measure, (head, _) in COLUMNS.items() if measure in computed]


def rows_of_page(information: Information) -> list[dict[str, Any]]:
    """A row for each source: its name, and of each column a value with its interval as text."""
    table, rows, computed = numbers.summary(information), [], set(information.runs["measure"])
    for source in information.cards:
        own, values = information.cards[source]["dataset"], []
        for measure, (_, style) in COLUMNS.items():
            if measure in computed:
                row = row_at(table, source=source, target=own, measure=measure)
                has_interval = row is not None and not np.isnan(row["low"])
                interval = f"{style.format(row['low'])} to {style.format(row['high'])}" if has_interval else ""
                values.append(("–" if row is None else style.format(row["mean"]), interval))
        rows.append({"source": source, "values": values})
    return rows
