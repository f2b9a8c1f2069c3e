"""Evidence for claims about the sources: textures (Section 5), kinds of perturbation (Section 7), pre-training, accuracy."""

from collections.abc import Iterator

import numpy as np

from stages.lib.report import statistics
from stages.lib.report.evidence import ABSENT, Evidence, over_images, over_models, over_seeds
from stages.lib.report.results import at
from stages.lib.report.statistics import MIN_MODELS
from stages.lib.report.wording import images
from stages.studies.utrera2021.claims_transfer import exemplar_gaps
from stages.studies.utrera2021.results import UtreraResults

OTHER_TASK = "not compared: it learnt other images or classes than the natural source"
FEW_MODELS = f"interval over test images, given one model each: no verdict on the sources from fewer than {MIN_MODELS} models of each"


def texture_targets(results: UtreraResults) -> Iterator[Evidence]:
    few = results.sizes[0]
    for target in results.textures:
        differences = exemplar_gaps(results, target=target, size=few)
        yield over_seeds(f"{target}, {images(few)}: {results.robust_label} minus natural", differences, expected=-1)
    if not results.textures:
        yield Evidence("a target with its label in texture alone", note=ABSENT)


def texture_loss(results: UtreraResults) -> Iterator[Evidence]:
    splits = ["test", "test_decorrelated"]
    for name in results.robust:
        comparison = f"loss without texture cue: natural minus {results.labels[name]}"
        if not results.learnt_as_natural(name):
            yield Evidence(comparison, note=OTHER_TASK)
            continue
        ours, theirs = (results.accuracies(source, splits) for source in (name, results.natural))
        yield _about_sources(results, comparison, theirs, ours, splits, [1, -1], expected=1)


def more_steps(results: UtreraResults) -> Iterator[Evidence]:
    yield from _against(results, [results.many_steps], results.of_family("pgd1"), "PGD(k) minus PGD(1)")


def targeted(results: UtreraResults) -> Iterator[Evidence]:
    ours = [results.many_steps, *results.of_family("pgd1")]
    yield from _against(results, ours, results.of_family("gaussian"), "PGD minus Gaussian")


def noise(results: UtreraResults) -> Iterator[Evidence]:
    yield from _against(results, results.of_family("gaussian"), [results.natural], "Gaussian minus natural")


def _against(results: UtreraResults, ours: list[str | None], references: list[str], comparison: str) -> Iterator[Evidence]:
    """Each of `ours` minus each of `references` per target, at the study's setting."""
    pairs = [(left, right) for right in references for left in ours if left]
    if not pairs:
        yield Evidence(comparison, note=ABSENT)
    rows = at(results.last, size=results.size, blocks=results.blocks)
    for target in results.targets:
        for left, right in pairs:
            gaps = statistics.minus(at(rows, target=target), [left], right)
            yield over_seeds(f"{target}, {images(results.size)}: {results.labels[left]} minus {results.labels[right]}", gaps)


def pretraining(results: UtreraResults) -> Iterator[Evidence]:
    few = results.sizes[0]
    for target in results.targets:
        rows = at(results.last, target=target, size=few)
        natural, random = at(rows, source=results.natural, blocks=results.blocks), at(rows, source=results.random, blocks="all")
        gaps = statistics.paired(natural, random, ["seed"])
        rates = [f" (lr {results.lr[name]:g})" if name in results.lr else "" for name in (results.natural, results.random)]
        yield over_seeds(f"{target}, {images(few)}: natural{rates[0]} minus random initialisation{rates[1]}", gaps)


def source_accuracy(results: UtreraResults) -> Iterator[Evidence]:
    perturbed = [name for name in results.cards if results.family(name) not in ("natural", "random")]
    for name in perturbed:
        comparison = f"{results.labels[name]} minus natural"
        ours, natural = (results.accuracies(source, ["test"]) for source in (name, results.natural))
        if not results.learnt_as_natural(name):
            yield Evidence(comparison, note=OTHER_TASK)
        elif not ours or not natural:
            yield _as_published(results, comparison, name)
        else:
            yield _about_sources(results, comparison, ours, natural, ["test"], [1], expected=-1)
    if not perturbed:
        yield Evidence("robust minus natural", note=ABSENT)


def _about_sources(
    results: UtreraResults, comparison: str, left: list[list[float]], right: list[list[float]], splits: list[str], signs: list[int],
    expected: int,
) -> Evidence:  # fmt: skip
    """What the models of a source have on their own data minus what those of another have: a signed sum over splits of each model."""
    if not left or not right:
        return Evidence(comparison, note=ABSENT)
    pairs = list(zip(left, right, strict=False))  # trained from the same seeds
    if len(pairs) < MIN_MODELS:
        percents, both = [*pairs[0][0], *pairs[0][1]], [*signs, *(-sign for sign in signs)]
        return over_images(comparison, percents, [results.n_test.get(split) for split in splits] * 2, both, expected=0, note=FEW_MODELS)
    return over_models(comparison, [float(np.dot(signs, np.subtract(*pair))) for pair in pairs], expected)


def _as_published(results: UtreraResults, comparison: str, name: str) -> Evidence:
    """Without images of the source data: what the authors of the weights say, which is no evidence of ours."""
    ours, natural = (results.cards[source].get("published_accuracy") for source in (name, results.natural))
    if ours is None or natural is None:
        return Evidence(comparison, note=ABSENT)
    return Evidence(comparison, ours - natural, n=1, of="model each", note="as published with the weights, not measured here: no verdict")
