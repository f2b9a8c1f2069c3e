"""Evidence for claims about the sources: textures (Section 5), kinds of perturbation (Section 7), pre-training, accuracy, robustness."""

from collections.abc import Iterator
from dataclasses import replace

import pandas as pd

from stages.lib.norms.table import NORMS
from stages.lib.report import statistics
from stages.lib.report.study import ABSENT, Evidence, Study, at, eps_text, images, kept_runs, over_images, over_seeds
from stages.studies.question.under_attack import middle
from stages.studies.utrera2021.claims_transfer import exemplar_gaps, robust
from stages.studies.utrera2021.numbers import many_steps

OTHER_TASK = "not compared: it learnt other images or classes than the natural source"


def texture_targets(study: Study) -> Iterator[Evidence]:
    few = study.sizes[0]
    for target in study.textures:
        differences = exemplar_gaps(study, target=target, size=few)["difference"].to_numpy()
        yield over_seeds(study, f"{target}, {images(few)}: {robust(study)} minus natural", differences, expected=-1)
    if not study.textures:
        yield Evidence("a target with its label in texture alone", note=ABSENT)


def texture_loss(study: Study) -> Iterator[Evidence]:
    splits = ["test", "test_decorrelated"]
    natural = study.cards[study.natural]["accuracy"]
    for name in study.robust:
        ours, what = study.cards[name]["accuracy"], f"loss without texture cue: natural minus {study.labels[name]}"
        if not study.learnt_as_natural(name):
            yield Evidence(what, note=OTHER_TASK)
            continue
        if not all(split in accuracy for split in splits for accuracy in (natural, ours)):
            yield Evidence(what, note=ABSENT)
            continue
        percents = [natural[splits[0]], natural[splits[1]], ours[splits[0]], ours[splits[1]]]
        yield over_images(what, percents, [study.n_test.get(split) for split in splits] * 2, [1, -1, -1, 1])


def more_steps(study: Study) -> Iterator[Evidence]:
    yield from _against(study, [many_steps(study)], study.of_family("pgd1"), "PGD(k) minus PGD(1)")


def targeted(study: Study) -> Iterator[Evidence]:
    ours = [many_steps(study), *study.of_family("pgd1")]
    yield from _against(study, ours, study.of_family("gaussian"), "PGD minus Gaussian")


def noise(study: Study) -> Iterator[Evidence]:
    yield from _against(study, study.of_family("gaussian"), [study.natural], "Gaussian minus natural")


def _against(study: Study, ours: list[str | None], theirs: list[str], what: str) -> Iterator[Evidence]:
    """Each of `ours` minus each of `theirs` per target, at the study's setting."""
    pairs = [(left, right) for right in theirs for left in ours if left]
    if not pairs:
        yield Evidence(what, note=ABSENT)
    rows = at(study.last, size=study.size, blocks=study.blocks)
    for target in study.targets:
        for left, right in pairs:
            gaps = statistics.minus(at(rows, target=target), [left], right)["difference"].to_numpy()
            yield over_seeds(study, f"{target}, {images(study.size)}: {study.labels[left]} minus {study.labels[right]}", gaps)


def pretraining(study: Study) -> Iterator[Evidence]:
    few = study.sizes[0]
    for target in study.targets:
        rows = at(study.last, target=target, size=few)
        natural, random = at(rows, source=study.natural, blocks=study.blocks), at(rows, source=study.random, blocks="all")
        gaps = statistics.paired(natural, random, ["seed"])["difference"].to_numpy()
        yield over_seeds(study, f"{target}, {images(few)}: natural minus random initialisation", gaps)


def source_accuracy(study: Study) -> Iterator[Evidence]:
    perturbed = [name for name in study.cards if study.family(name) not in ("natural", "random")]
    for name in perturbed:
        what = f"{study.labels[name]} minus natural"
        (ours, natural), n = (_measured(study, s) for s in (name, study.natural)), study.n_test.get("test")
        if not study.learnt_as_natural(name):
            yield Evidence(what, note=OTHER_TASK)
        elif ours is None or natural is None:
            yield _as_published(study, what, name)
        else:
            yield over_images(what, [ours, natural], [n, n], [1, -1], expected=-1)
    if not perturbed:
        yield Evidence("robust minus natural", note=ABSENT)


def _measured(study: Study, name: str) -> float | None:
    return study.cards[name]["accuracy"].get("test")


def _as_published(study: Study, what: str, name: str) -> Evidence:
    """Without images of the source data: what the authors of the weights say, which is no evidence of ours."""
    ours, natural = (study.cards[source].get("published_accuracy") for source in (name, study.natural))
    if ours is None or natural is None:
        return Evidence(what, note=ABSENT)
    return Evidence(what, ours - natural, n=1, of="model each", note="as published with the weights, not measured here: no verdict")


def robust_targets(study: Study) -> Iterator[Evidence]:
    found = False
    for target in study.targets:
        rows = kept_runs(study, target)
        for norm in NORMS:
            evidence = _under_attack(study, target, at(rows, norm=norm), norm)
            found = found or evidence is not None
            if evidence:
                yield evidence
    if not found:
        yield Evidence("weights of fine-tuned models", note=ABSENT)


def _under_attack(study: Study, target: str, rows: pd.DataFrame, norm: str) -> Evidence | None:
    """The best robust source minus natural at the middle radius."""
    eps = middle(rows)
    if eps is None:
        return None
    attacked = at(rows, eps=eps)
    scores = attacked.groupby("source")["accuracy"].mean()
    ours = scores.reindex(study.robust).dropna()
    if ours.empty or study.natural not in scores:
        return None
    name, first = str(ours.idxmax()), attacked.iloc[0]
    what = f"{target}, {images(first['n_images'])}, {eps_text(norm, first['eps'])}: {study.labels[name]} minus natural"
    counts = [int(first["n_test"])] * 2
    evidence = over_images(what, [ours.max(), scores[study.natural]], counts, [1, -1])
    clean = at(rows, eps=0.0).groupby("source")["accuracy"].mean().reindex([name, study.natural])
    return _less_accurate(evidence, clean.tolist(), counts) or evidence


def _less_accurate(evidence: Evidence, clean: list[float], counts: list[int]) -> Evidence | None:
    """No verdict where the robust model errs more without an attack: a network that ignores its input resists every attack."""
    if pd.isna(clean).any() or statistics.contrast(clean, counts, [1, -1])[2] >= 0:
        return None
    note = f"no verdict: without an attack it is less accurate ({clean[0]:.1f} % against {clean[1]:.1f} %)"
    return replace(evidence, verdict="open", note=note)
