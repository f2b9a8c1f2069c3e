"""The report: tables, figures and one page that opens with the answer. It reads files only, never the tracking store.

Reads models/sources/, models/finetuned/ and models/robustness/ of every configured source and target, models/results/ of
every configured experiment, data/images/<dataset>/, and the sections of params.yaml that made them. Each study adds
its section. Writes reports/tables/*.csv, reports/figures/*.{svg,png}, reports/plots/*.csv, reports/metrics.json,
reports/answer.txt (what it prints: the answer in words) and reports/report.html.
The same inputs give the same bytes; results of a source, target or experiment that is not configured are not read.
"""

from importlib import import_module
from pathlib import Path
from typing import Any

import pandas as pd

from stages.lib import command
from stages.lib.datasets.sets import IMAGES
from stages.lib.networks.sources import folder_of
from stages.lib.report import drawings, evidence, reading
from stages.lib.report.looks import looks_of_all
from stages.lib.report.reading import ExperimentResults
from stages.lib.report.section import Section
from stages.lib.report.web import page
from stages.lib.settings import params
from stages.lib.store import files
from stages.lib.store.journal import execution
from stages.lib.store.tables import RESULTS, finetuned, robustness
from stages.studies import registry

REPORTS = Path("reports")


def main() -> None:
    settings = settings_of()
    outputs = [REPORTS / name for name in ("tables", "figures", "plots", "metrics.json", "answer.txt", "report.html")]
    journal = execution("report", settings=settings["report"].model_dump(), inputs=inputs_of(settings), outputs=outputs)
    with drawings.processes() as drawers, journal:
        results, experiments = reading.load_results(settings), reading.load_experiments(settings["experiments"])
        cards = reading.cards_of(experiments)
        looks = looks_of_all(results, cards)
        sections = [import_module(study.report).section(results, settings, experiments, cards, looks) for study in registry.STUDIES]
        claims = [claim for section in sections for claim in section.claims]
        save_tables(raw_tables(results, experiments), REPORTS / "tables")
        save_tables({"claims": evidence.table(claims)}, REPORTS / "tables", digits=6)
        for section in sections:
            save_tables(section.tables, REPORTS / "tables", digits=6)
            save_tables(section.plots, REPORTS / "plots", digits=6)
        files.write_json(REPORTS / "metrics.json", metrics_of(sections))
        svgs = drawings.draw_all([drawing for section in sections for drawing in section.drawings], REPORTS / "figures", drawers)
        html = page.render(results, sections, looks=looks, svgs=svgs, settings=settings)
        files.write_bytes(REPORTS / "report.html", html.encode())
        answer = "".join(f"{line}\n" for section in sections for line in section.words)
        files.write_bytes(REPORTS / "answer.txt", answer.encode())
    print(answer, end="")
    print(f"report: {REPORTS / 'report.html'}")


def settings_of() -> dict[str, Any]:
    """The sections of params.yaml that decide the results, each by its name; those of experiments come with their results."""
    return {
        "datasets": params.section("datasets"), "sources": params.section("sources"), "targets": params.section("targets"),
        "blocks": params.section("blocks"), "experiments": params.section("experiments"), "upscale": params.section("upscale"),
        "draw_subsets": params.section("draw_subsets"), "source": params.section("source"), "finetune": params.section("finetune"),
        "evaluate_robustness": params.section("evaluate_robustness"), "report": registry.section("report"),
    }  # fmt: skip


def inputs_of(settings: dict[str, Any]) -> list[Path]:
    names = settings["sources"]
    inputs = [*(finetuned(name) / "runs.parquet" for name in names), *(robustness(name) for name in names)]
    inputs += [*(folder_of(name) for name in names), *(RESULTS / name for name in settings["experiments"])]
    return inputs + [IMAGES / name / "card.json" for name in settings["datasets"]]


def raw_tables(results: reading.Results, experiments: dict[str, ExperimentResults]) -> dict[str, pd.DataFrame]:
    """Every evaluated epoch of every run, every accuracy under attack, and every run of the experiments that are on."""
    tables = {"runs": results.measured, "robustness": results.robustness} | ({"rates": results.rates} if len(results.rates) else {})
    runs = [result.runs.assign(experiment=name) for name, result in experiments.items()]
    return tables | ({"experiments": pd.concat(runs, ignore_index=True)} if runs else {})


def metrics_of(sections: list[Section]) -> dict[str, Any]:
    return {name: value for section in sections for name, value in section.metrics.items()}


def save_tables(tables: dict[str, pd.DataFrame], folder: Path, digits: int | None = None) -> None:
    """Write tables as CSV, with every digit or with `digits` decimals, and without `size`, which repeats the number of images."""
    for name, table in tables.items():
        shown = table.drop(columns="size", errors="ignore")
        text = shown.to_csv(index=False, lineterminator="\n", float_format=digits and f"%.{digits}f")
        files.write_bytes(folder / f"{name}.csv", text.encode())


if __name__ == "__main__":
    command.run(main, __doc__)
