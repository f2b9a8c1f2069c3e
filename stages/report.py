"""What the results say: tables, figures and one page that opens with the answer. It reads files only, never the tracking store.

Reads models/sources/<source>.json, models/finetuned/ and models/robustness/ of every configured source and target,
data/images/<dataset>/, data/catalog.yaml, reports/reference/utrera_table7.csv, and the sections of params.yaml that made them. Writes
reports/tables/*.csv, reports/figures/*.{svg,png}, reports/plots/*.csv, reports/metrics.json and reports/report.html. The
same inputs give the same bytes; what lies on disk of a source or target that is no longer configured is not read.
"""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from stages.lib import claims, command, figures, files, page, params, pictures, results, statistics
from stages.lib.datasets import IMAGES
from stages.lib.figures import Look
from stages.lib.journal import execution
from stages.lib.sources import paths
from stages.lib.study import Study, answers, at, block_text, images, kept_runs
from stages.lib.tables import FINETUNED, ROBUSTNESS

REPORTS = Path("reports")
PUBLISHED = Path("reports/reference/utrera_table7.csv")
MEANS = ["source", "target", "blocks", "n_images"]


def main() -> None:
    settings = settings_of()
    pairs = [Path(s) / t for s in settings["sources"] for t in settings["targets"]]
    inputs = [*(FINETUNED / p / "runs.parquet" for p in pairs), *(ROBUSTNESS / p for p in pairs)]
    inputs += [*(paths(name)[1] for name in settings["sources"]), PUBLISHED]
    inputs += [IMAGES / name / "card.json" for name in settings["datasets"]]
    outputs = [REPORTS / name for name in ("tables", "figures", "plots", "metrics.json", "report.html")]
    with execution("report", settings=settings["report"].model_dump(), inputs=inputs, outputs=outputs):
        study = results.load_study(settings)
        published = results.read_table(PUBLISHED, ["target", "n_images", "natural", "l2_eps3"])
        tables = tables_of(study)
        found = claims.all_claims(study, published)
        drawn = encode(figures_of(study, tables, published, settings["datasets"]))
        save_tables(tables | {"claims": claims.table(found)}, REPORTS / "tables")
        save_tables(plots_of(study, tables), REPORTS / "plots")
        files.write_json(REPORTS / "metrics.json", metrics_of(study, tables))
        for name, content in drawn.items():
            files.write_bytes(REPORTS / "figures" / name, content)
        shown = {name.removesuffix(".svg"): content.decode() for name, content in drawn.items() if name.endswith(".svg")}
        html = page.render(study, answers=answers(study), claims=found, svgs=shown, summary=tables["summary"], settings=settings)
        files.write_bytes(REPORTS / "report.html", html.encode())
    print(f"report: {REPORTS / 'report.html'}")


def settings_of() -> dict[str, Any]:
    """The sections of params.yaml that decide the results, each by its name."""
    return {
        "datasets": params.section("datasets"), "sources": params.section("sources"), "targets": params.section("targets"),
        "blocks": params.section("blocks"), "upscale": params.section("upscale"), "draw_subsets": params.section("draw_subsets"),
        "source": params.section("source"), "finetune": params.section("finetune"),
        "evaluate_robustness": params.section("evaluate_robustness"), "report": params.section("report"),
    }  # fmt: skip


def tables_of(study: Study) -> dict[str, pd.DataFrame]:
    pairs = statistics.minus(study.last, study.robust, study.natural)
    return {
        "runs": study.runs,
        "summary": statistics.summarise(study.last, MEANS, "test_accuracy", study.resamples),
        "differences": statistics.summarise(pairs, MEANS, "difference", study.resamples),
        "robustness": study.robustness,
    }


def plots_of(study: Study, tables: dict[str, pd.DataFrame]) -> dict[str, pd.DataFrame]:
    """For `dvc plots show`: accuracy against n_images, and against the epoch at the headline's n_images."""
    rows = at(study.runs, n_images=study.n_images)
    epochs = statistics.summarise(rows, [*MEANS, "epoch"], "test_accuracy", study.resamples)
    plots = {"accuracy": tables["summary"], "epochs": epochs}
    return {name: table.rename(columns={"mean": "test_accuracy"}) for name, table in plots.items()}


def metrics_of(study: Study, tables: dict[str, pd.DataFrame]) -> dict[str, Any]:
    """Accuracy and the best robust source's difference from natural at the headline's n_images: target, blocks, source."""
    metrics: dict[str, Any] = {}
    for (target, blocks), rows in at(tables["summary"], n_images=study.n_images).groupby(["target", "blocks"], sort=False):
        entry: dict[str, Any] = {"accuracy": {r.source: round(r.mean, 3) for r in rows.itertuples()}}
        gaps = at(tables["differences"], n_images=study.n_images, target=target, blocks=blocks)
        if len(gaps):
            top = gaps.loc[gaps["mean"].idxmax()]
            entry["robust_minus_natural"] = {k: round(top[k], 3) for k in ("mean", "low", "high") if np.isfinite(top[k])}
        metrics.setdefault(target, {})[f"blocks_{blocks}"] = entry
    on_source = {n: {s: round(a, 3) for s, a in card["accuracy"].items()} for n, card in study.cards.items() if card["accuracy"]}
    return metrics | {"source_data": on_source}


def save_tables(tables: dict[str, pd.DataFrame], folder: Path) -> None:
    """CSV; of results every digit, of statistics six decimals."""
    for name, table in tables.items():
        raw = name in ("runs", "robustness")
        text = table.to_csv(index=False, lineterminator="\n", float_format=None if raw else "%.6f")
        files.write_bytes(folder / f"{name}.csv", text.encode())


def figures_of(study: Study, tables: dict[str, pd.DataFrame], published: pd.DataFrame, names: list[str]) -> dict[str, Figure]:
    looks = page.looks_of(study)
    drawn = {f"samples_{n}": pictures.samples(results.samples_of(n), f"{n}: first image of each class, with its label") for n in names}
    for target in study.targets:
        mine = at(tables["summary"], target=target)
        drawn[f"accuracy_{target}"] = figures.accuracy(mine, looks, f"{target}: test accuracy against number of training images")
        gaps = at(tables["differences"], target=target)
        if len(gaps):
            drawn[f"difference_{target}"] = figures.difference(gaps, looks, f"{target}: robust minus natural on the same subsets")
    drawn["published"] = figures.published(
        published, "Published (Utrera et al., Table 7): L2 3 minus natural, ImageNet ResNet-50, 3 blocks"
    )
    by_epoch = at(plots_of(study, tables)["epochs"], n_images=study.n_images).rename(columns={"test_accuracy": "mean"})
    by_epoch = by_epoch[(by_epoch["blocks"] == study.blocks) | (by_epoch["source"] == study.random)]
    drawn["epochs"] = figures.epochs(by_epoch, looks, f"Accuracy by epoch: {images(study.n_images)}, {block_text(study.blocks)}")
    attacked = attacked_of(study)
    if len(attacked):
        drawn["robustness"] = figures.robustness(
            attacked, looks, f"Accuracy under attack, {attacked['attack'].iloc[0].upper().replace('PGD', 'PGD(')})"
        )
    return drawn | examples_of(study, looks)


def attacked_of(study: Study) -> pd.DataFrame:
    """Accuracy against eps of the sources on their own data, and per target of the fine-tuned models that kept weights."""
    sources = at(study.robustness, model="source")
    parts = [sources.assign(panel=sources["dataset"] + ", source models")]
    for target in study.targets:
        kept = kept_runs(study, target)
        if len(kept):
            blocks = at(kept, source=study.natural)["blocks"].max() if study.natural in set(kept["source"]) else kept["blocks"].iloc[0]
            parts.append(kept.assign(panel=f"{target}, fine-tuned: {images(kept['n_images'].iloc[0])}, {block_text(blocks)}"))
    shown = pd.concat([p for p in parts if len(p)] or parts, ignore_index=True)
    return shown.groupby(["panel", "norm", "attack", "source", "eps"], sort=False, as_index=False)["accuracy"].mean()


def examples_of(study: Study, looks: dict[str, Look]) -> dict[str, Figure]:
    """Adversarial examples of the sources on their own data, and of fine-tuned models on each target, where they were kept."""
    drawn = {}
    for model, target in [("source", study.targets[0]), *(("finetuned", t) for t in study.targets)]:
        groups = [g for name in study.cards for norm in ("l2", "linf") for g in results.example_group(name, target, model, norm)]
        where = f"{target}, fine-tuned models" if model == "finetuned" else "source models on their own data"
        if groups:
            name = f"examples_{target}" if model == "finetuned" else "examples_source"
            drawn[name] = pictures.examples(pd.DataFrame(groups), looks, f"Adversarial examples: {where}")
    return drawn


def encode(drawn: dict[str, Figure]) -> dict[str, bytes]:
    return {f"{name}.{kind}": figures.encode(figure, kind) for name, figure in drawn.items() for kind in ("svg", "png")}


if __name__ == "__main__":
    command.run(main, __doc__)
