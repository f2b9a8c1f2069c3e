"""The part of the report that answers the user's question: every source and target in full, and accuracy under attack."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd

from stages.lib.datasets.sets import card_of
from stages.lib.norms.table import NORMS
from stages.lib.report import pictures, reading
from stages.lib.report.looks import Look
from stages.lib.report.reading import ExperimentResults
from stages.lib.report.results import Results, at
from stages.lib.report.section import Drawing, Section
from stages.lib.report.statistics import MIN_N
from stages.lib.report.wording import block_text, images
from stages.studies.question import costs, figures, optimism, tables, under_attack, words
from stages.studies.question.answers import NEEDED, answers, better_of_natural_and_robust, ranking

FOLDER = Path(__file__).parent


def section(
    results: Results, settings: dict[str, Any], experiments: dict[str, ExperimentResults], cards: dict[str, Any], looks: dict[str, Look]
) -> Section:
    """The section of the user's own question.

    Args:
        settings: the sections of params.yaml by name.
        experiments: what papers computed beyond fine-tuning; none of it is shown here.
        cards: of the sources of the experiments.
        looks: of all sources.
    """
    made, given = tables.tables_of(results), answers(results)
    flattery = optimism.optimism(results, settings["finetune"].select)
    attacks = under_attack.by_attack(results)
    drawings = [*_samples(settings["datasets"]), *_targets(results, made, looks), *_attacks(results, looks)]
    return Section(
        title="Which source transfers best?",
        template=FOLDER / "section.html.j2",
        opening=FOLDER / "opening.html.j2",
        anchors={"answer": "Answer", "images": "Images", "targets": "Targets"} | ({"robustness": "Under attack"} if attacks else {}),
        context={
            "answers": given, "better": [better_of_natural_and_robust(results, answer) for answer in given],
            "by_target": tables.rows_by_target(results, made["summary"]),
            "diverged": [row | {"lr": " and ".join(f"{lr:g}" for lr in row["lr"])} for row in results.diverged.to_dict("records")],
            "attacks": attacks, "doubts": under_attack.doubts(results), "checked": len(results.checks), "min_n": MIN_N, "needed": NEEDED,
            "costs": costs.costs_of(results, settings), "finetuning": costs.passes_of_fine_tuning(results),
            "rates": optimism.shown(results, settings["finetune"].select, flattery),
        },
        words=words.in_words(results, given),
        tables=made | {"ranking": ranking(results)} | ({"optimism": flattery} if len(flattery) else {}),
        drawings=drawings,
        metrics=tables.metrics_of(results, made),
        plots=tables.plots_of(made),
    )  # fmt: skip


def _samples(datasets: list[str]) -> Iterator[Drawing]:
    """Pictures of every image set that is at hand."""
    for name in datasets:
        if splits := reading.samples_of(name):
            title = f"{name}: first image of each class, with its label"
            yield Drawing(f"samples_{name}", pictures.samples, (splits, title, card_of(name).class_names))


def _targets(results: Results, made: dict[str, pd.DataFrame], looks: dict[str, Look]) -> Iterator[Drawing]:
    """Each target with every source and every number of blocks."""
    for target in results.targets:
        title = f"{target}: {results.score(target)} against number of training images"
        yield Drawing(f"accuracy_{target}", figures.accuracy, (at(made["summary"], target=target), looks, title, results.score(target)))
        gaps = at(made["differences"], target=target)
        if len(gaps):
            title = f"{target}: robust minus natural on the same subsets"
            yield Drawing(f"difference_{target}", figures.difference, (gaps, looks, title))
    by_epoch = made["epochs"]
    by_epoch = by_epoch[(by_epoch["blocks"] == results.blocks) | (by_epoch["source"] == results.random)]
    scores = {target: results.score(target) for target in results.targets}
    titles = {target: target if score == "test accuracy" else f"{target}: {score}" for target, score in scores.items()}
    by_epoch = by_epoch.assign(target=by_epoch["target"].map(titles))
    if by_epoch["epoch"].nunique() > 1:
        title = f"Accuracy by epoch, every source: {images(results.size)}, {block_text(results.blocks)}"
        yield Drawing("epochs", figures.epochs, (by_epoch, looks, title))


def _attacks(results: Results, looks: dict[str, Look]) -> Iterator[Drawing]:
    """Accuracy under attack, and adversarial examples of the sources and of what was fine-tuned from them."""
    attacked = under_attack.against_eps(results)
    if len(attacked):
        yield Drawing("robustness", figures.robustness, (attacked, looks, "Accuracy under attack, against its radius"))
    models = under_attack.clean_against_robust(results)
    if len(models):
        yield Drawing("clean_robust", figures.clean_robust, (models, looks, "Clean accuracy and accuracy under attack"))
    for model, target in [("source", results.targets[0]), *(("finetuned", target) for target in results.targets)]:
        groups = [g for name in results.cards for norm in NORMS for g in reading.example_group(name, target, model, norm)]
        where = f"{target}, fine-tuned models" if model == "finetuned" else "source models on their own data"
        if groups:
            name = f"examples_{target}" if model == "finetuned" else "examples_source"
            classes = card_of(target).class_names if model == "finetuned" else _classes_of_sources(results)
            yield Drawing(name, pictures.examples, (pd.DataFrame(groups), looks, f"Adversarial examples: {where}", classes))


def _classes_of_sources(results: Results) -> list[str] | None:
    """The names of the classes that the sources learnt, where all learnt the same whole set."""
    learnt = {(card["dataset"], bool(card.get("part"))) for card in results.cards.values() if card["dataset"]}
    (dataset, is_part), *others = learnt or {("", True)}
    return None if is_part or others else card_of(dataset).class_names
