"""What the results say: tables, figures and one page that opens with the answer. It reads files only, never the tracking store.

Reads models/sources/<source>.json, models/finetuned/ and models/robustness/ of every configured source and target,
data/images/<dataset>/, data/catalog.yaml, reports/reference/*.csv, and the sections of params.yaml that made them. Writes
reports/tables/*.csv, reports/figures/*.{svg,png}, reports/plots/*.csv, reports/metrics.json and reports/report.html. The
same inputs give the same bytes; what lies on disk of a source or target that is no longer configured is not read.
"""

from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from stages.lib import command
from stages.lib.datasets.sets import IMAGES
from stages.lib.networks.sources import paths
from stages.lib.report import figures, gallery, page, results, statistics
from stages.lib.report.study import Study, answers, at
from stages.lib.settings import params
from stages.lib.store import files
from stages.lib.store.journal import execution
from stages.lib.store.tables import finetuned, robustness
from stages.studies.shafahi2020 import figures as shafahi_figures
from stages.studies.shafahi2020 import numbers as shafahi
from stages.studies.shafahi2020 import tables as shafahi_tables
from stages.studies.utrera2021 import claims, table7
from stages.studies.utrera2021 import numbers as paper
from stages.studies.utrera2021 import published as reference

REPORTS = Path("reports")
MEANS = ["source", "target", "blocks", "n_images", "size"]


def main() -> None:
    settings = settings_of()
    outputs = [REPORTS / name for name in ("tables", "figures", "plots", "metrics.json", "report.html")]
    with execution("report", settings=settings["report"].model_dump(), inputs=inputs_of(settings), outputs=outputs):
        study, published = results.load_study(settings), reference.load(settings["targets"])
        transfers = shafahi.load(settings, study.resamples)
        beside = shafahi_tables.all_tables(transfers, published.shafahi)
        tables = tables_of(study, published.table7)
        numbers = paper.all_figures(study, table7.delta(study, published.table7))
        found = claims.all_claims(study, transfers, published)
        if not transfers.is_empty:
            tables |= {"robust_transfer": transfers.runs, "shafahi": shafahi_tables.compared(beside, transfers.attack)}
        save_tables(tables | {"claims": claims.table(found)}, REPORTS / "tables")
        save_tables({name: figure.table for name, figure in numbers.items() if len(figure.table)}, REPORTS / "tables")
        save_tables(plots_of(tables), REPORTS / "plots")
        files.write_json(REPORTS / "metrics.json", metrics_of(study, tables))
        svgs = {}
        looks = gallery.looks_of(study, transfers)
        drawings = gallery.all_figures(study, looks, tables, numbers, published.table7, settings["datasets"])
        for name, figure in chain(drawings, shafahi_figures.all_figures(transfers, looks)):
            drawn = {kind: figures.encode(figure, kind) for kind in ("svg", "png")}
            svgs[name] = drawn["svg"].decode()
            for kind, content in drawn.items():
                files.write_bytes(REPORTS / "figures" / f"{name}.{kind}", content)
        html = page.render(study, transfers, looks=looks, answers=answers(study), claims=found, svgs=svgs, paper=numbers, tables=tables,
                           shafahi=beside, settings=settings)  # fmt: skip
        files.write_bytes(REPORTS / "report.html", html.encode())
    print(f"report: {REPORTS / 'report.html'}")


def settings_of() -> dict[str, Any]:
    """The sections of params.yaml that decide the results, each by its name."""
    return {
        "datasets": params.section("datasets"), "sources": params.section("sources"), "targets": params.section("targets"),
        "blocks": params.section("blocks"), "upscale": params.section("upscale"), "draw_subsets": params.section("draw_subsets"),
        "source": params.section("source"), "finetune": params.section("finetune"),
        "evaluate_robustness": params.section("evaluate_robustness"), "robust_transfer": params.section("robust_transfer"),
        "retrain": params.section("retrain"), "train_heads": params.section("train_heads"), "harden": params.section("harden"),
        "learn_without_forgetting": params.section("learn_without_forgetting"), "report": params.section("report"),
    }  # fmt: skip


def inputs_of(settings: dict[str, Any]) -> list[Path]:
    names = settings["sources"]
    found = [*(finetuned(name) / "runs.parquet" for name in names), *(robustness(name) for name in names)]
    found += [*(paths(name)[1] for name in settings["sources"]), *reference.PATHS, *shafahi.inputs_of(settings)]
    return found + [IMAGES / name / "card.json" for name in settings["datasets"]]


def tables_of(study: Study, published: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Every evaluated epoch of every run; means and differences from natural at the last, and at the study's size by epoch; Table 7."""
    perturbed = [name for name in study.cards if study.family(name) not in ("natural", "random")]
    pairs = statistics.minus(study.last, perturbed, study.natural)
    return {
        "runs": study.runs,
        "summary": statistics.summarise(study.last, MEANS, "test_accuracy", study.resamples),
        "differences": statistics.summarise(pairs, MEANS, "difference", study.resamples),
        "epochs": statistics.summarise(at(study.runs, size=study.size), [*MEANS, "epoch"], "test_accuracy", study.resamples),
        "table7": table7.table7(study, published),
        "robustness": study.robustness,
    }


def plots_of(tables: dict[str, pd.DataFrame]) -> dict[str, pd.DataFrame]:
    """For `dvc plots show`: accuracy against n_images, and against the epoch at the headline's n_images."""
    return {
        name: tables[table].rename(columns={"mean": "test_accuracy"}) for name, table in (("accuracy", "summary"), ("epochs", "epochs"))
    }


def metrics_of(study: Study, tables: dict[str, pd.DataFrame]) -> dict[str, Any]:
    """Accuracy and the best robust source's difference from natural at the headline's n_images: target, blocks, source."""
    metrics: dict[str, Any] = {}
    differences = tables["differences"][tables["differences"]["source"].isin(study.robust)]
    for (target, blocks), rows in at(tables["summary"], size=study.size).groupby(["target", "blocks"], sort=False):
        entry: dict[str, Any] = {"accuracy": {r.source: round(r.mean, 3) for r in rows.itertuples()}}
        gaps = at(differences, size=study.size, target=target, blocks=blocks)
        if len(gaps):
            top = gaps.loc[gaps["mean"].idxmax()]
            entry["robust_minus_natural"] = {k: round(top[k], 3) for k in ("mean", "low", "high") if np.isfinite(top[k])}
        metrics.setdefault(target, {})[f"blocks_{blocks}"] = entry
    on_source = {n: {s: round(a, 3) for s, a in card["accuracy"].items()} for n, card in study.cards.items() if card["accuracy"]}
    return metrics | {"source_data": on_source}


def save_tables(tables: dict[str, pd.DataFrame], folder: Path) -> None:
    """CSV; of results every digit, of statistics six decimals. What the number of images says needs no size."""
    for name, table in tables.items():
        raw = name in ("runs", "robustness", "robust_transfer")
        text = table.drop(columns="size", errors="ignore").to_csv(index=False, lineterminator="\n", float_format=None if raw else "%.6f")
        files.write_bytes(folder / f"{name}.csv", text.encode())


if __name__ == "__main__":
    command.run(main, __doc__)
