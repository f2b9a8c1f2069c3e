"""Every figure of the report by the name of its files: samples, each target in full, the paper's figures, and attacks."""

from collections.abc import Iterator, Sequence

import pandas as pd
from matplotlib.figure import Figure

from stages.lib.norms.table import NORMS
from stages.lib.report import figures, pictures, results
from stages.lib.report.figures import Look
from stages.lib.report.study import Study, at, block_text, images
from stages.studies.question import figures as source_figures
from stages.studies.question import under_attack
from stages.studies.shafahi2020.numbers import Transfers
from stages.studies.utrera2021 import figures as paper_figures
from stages.studies.utrera2021.numbers import Numbers


def all_figures(
    study: Study, looks: dict[str, Look], tables: dict[str, pd.DataFrame], paper: dict[str, Numbers], published: pd.DataFrame,
    datasets: Sequence[str],
) -> Iterator[tuple[str, Figure]]:  # fmt: skip
    """One at a time, as a figure takes memory until it is encoded.

    Args:
        looks: of the sources.
        tables: summary and differences per source, target, blocks and size; epochs, the same by epoch.
        paper: the numbers of the paper's figures.
        published: Table 7 as published.
    """
    for name in datasets:
        splits = results.samples_of(name)
        if splits:
            yield f"samples_{name}", pictures.samples(splits, f"{name}: first image of each class, with its label")
    by_label = {looks[name].label: looks[name] for name in study.cards}
    for name, numbers in paper.items():
        if len(numbers.table):
            yield name, paper_figures.draw(name, numbers, by_label, study.targets)
    if not (paper["figure2"].table["series"] == "published").any():
        title = "Published (Utrera et al., Table 7): L2 3 minus natural, ImageNet ResNet-50, 3 blocks"
        yield "published", source_figures.published(published, title)
    yield from _targets(study, tables, looks)
    yield from _attacks(study, looks)


def _targets(study: Study, tables: dict[str, pd.DataFrame], looks: dict[str, Look]) -> Iterator[tuple[str, Figure]]:
    """Each target with every source and every number of blocks."""
    for target in study.targets:
        title = f"{target}: test accuracy against number of training images"
        yield f"accuracy_{target}", source_figures.accuracy(at(tables["summary"], target=target), looks, title)
        gaps = at(tables["differences"], target=target)
        if len(gaps):
            yield f"difference_{target}", source_figures.difference(gaps, looks, f"{target}: robust minus natural on the same subsets")
    by_epoch = tables["epochs"]
    by_epoch = by_epoch[(by_epoch["blocks"] == study.blocks) | (by_epoch["source"] == study.random)]
    title = f"Accuracy by epoch, every source: {images(study.size)}, {block_text(study.blocks)}"
    yield "epochs", source_figures.epochs(by_epoch, looks, title)


def _attacks(study: Study, looks: dict[str, Look]) -> Iterator[tuple[str, Figure]]:
    attacked = under_attack.against_eps(study)
    if len(attacked):
        yield "robustness", source_figures.robustness(attacked, looks, "Accuracy under attack, against its radius")
    models = under_attack.clean_against_robust(study)
    if len(models):
        yield "clean_robust", source_figures.clean_robust(models, looks, "Clean accuracy and accuracy under attack")
    for model, target in [("source", study.targets[0]), *(("finetuned", t) for t in study.targets)]:
        groups = [g for name in study.cards for norm in NORMS for g in results.example_group(name, target, model, norm)]
        where = f"{target}, fine-tuned models" if model == "finetuned" else "source models on their own data"
        if groups:
            name = f"examples_{target}" if model == "finetuned" else "examples_source"
            yield name, pictures.examples(pd.DataFrame(groups), looks, f"Adversarial examples: {where}")


def looks_of(study: Study, transfers: Transfers) -> dict[str, Look]:
    """Of the sources that are compared, and of those that the experiments of Shafahi et al. have besides."""
    compared = [(name, study.labels[name], study.family(name), study.eps(name)) for name in study.cards]
    return figures.looks_of(compared + [source for source in transfers.described() if source[0] not in study.cards])
