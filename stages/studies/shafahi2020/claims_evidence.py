"""Evidence for the claims of Shafahi et al. (ICLR 2020) but those of Section 6: from fine-tuned models under attack, and experiments.

A model is tested on a few hundred images and trained from a few seeds, so the interval is the one over test images (Newcombe's,
of means over seeds, paired where both models were tested on the same images).
"""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pandas as pd

from stages.lib.norms.table import NORMS
from stages.lib.report import statistics
from stages.lib.report.evidence import ABSENT, Evidence, over_images
from stages.lib.report.results import Results, at, kept_models, middle_radius, row_at
from stages.lib.report.wording import eps_text, images
from stages.studies.shafahi2020.numbers import BOTH, Transfers

NOTE = "interval over test images"
MARGIN = 2.0  # points of accuracy under attack: robustness is kept where less is lost, as 2 are the smallest gain that the paper speaks of
LAST = 2  # pieces that are the last: the head, and what comes before it
PAIRED = "interval over test images, which both were tested on"


def fine_tuned(results: Results) -> Iterator[Evidence]:
    any_evidence = False
    for target in results.targets:
        rows = kept_models(results, target)
        for norm in NORMS:
            for evidence in _under_attack(results, target, at(rows, norm=norm), norm):
                any_evidence = True
                yield evidence
    if not any_evidence:
        yield Evidence("weights of fine-tuned models", note=ABSENT)


def _under_attack(results: Results, target: str, rows: pd.DataFrame, norm: str) -> Iterator[Evidence]:
    """Each robust source minus natural at the middle radius."""
    eps = middle_radius(rows)
    if eps is None:
        return
    attacked = at(rows, eps=eps)
    scores = attacked.groupby("source")["accuracy"].mean()
    clean = at(rows, eps=0.0).groupby("source")["accuracy"].mean()
    for name in results.robust if results.natural in scores else []:
        if name in scores:
            first = attacked.iloc[0]
            comparison = f"{target}, {images(first['n_images'])}, {eps_text(norm, first['eps'])}: {results.labels[name]} minus natural"
            pair = [name, results.natural]
            counts, shared = [int(at(attacked, source=source)["n_test"].min()) for source in pair], _shared(results, attacked, pair)
            note = NOTE if shared is None else PAIRED
            evidence = over_images(comparison, scores[pair].tolist(), counts, [1, -1], note=note, correlation=shared or 0.0)
            yield _less_accurate(evidence, clean.reindex(pair).tolist(), counts) or evidence


def _shared(results: Results, attacked: pd.DataFrame, pair: list[str]) -> float | None:
    """The correlation of the results of two sources' models, image by image; None where they were attacked on different images."""
    if results.standing.empty:
        return None
    keys = ["model", "source", "dataset", "blocks", "n_images", "seed", "norm", "eps"]
    rows = results.standing.merge(attacked[keys], on=keys)
    left, right = (at(rows, source=source).groupby("image")["correct"].mean() for source in pair)
    same = len(left) > 0 and left.index.equals(right.index)
    return statistics.correlation(left.to_numpy(float), right.to_numpy(float)) if same else None


def _less_accurate(evidence: Evidence, clean: list[float], counts: list[int]) -> Evidence | None:
    """No verdict where the robust model errs more without an attack: a network that ignores its input resists every attack."""
    if pd.isna(clean).any() or statistics.contrast(clean, counts, [1, -1])[2] >= 0:
        return None
    note = f"no verdict: without an attack it is less accurate ({clean[0]:.1f} % against {clean[1]:.1f} %)"
    return replace(evidence, p=np.nan, note=note)


def features(transfers: Transfers) -> Iterator[Evidence]:
    """Heads on frozen features, robust source minus natural, under attack."""
    yield from _robust_minus_natural(transfers, transfers.attack, expected=1)


def clean(transfers: Transfers) -> Iterator[Evidence]:
    """Heads on frozen features, robust source minus natural, on clean images."""
    yield from _robust_minus_natural(transfers, "clean", expected=-1)


def natural(transfers: Transfers) -> Iterator[Evidence]:
    """Accuracy under attack of a head on a natural source, minus that of guessing."""
    any_evidence = False
    for (source, target), group in transfers.train_heads.groupby(["source", "target"], sort=False):
        row = row_at(group, setting=0.0, measure=transfers.attack)
        if row is None or transfers.robust(source):
            continue
        any_evidence = True
        chance = 100 / transfers.classes[target]
        comparison = f"{transfers.labels[source]} on {target}, minus {chance:.0f} %"
        yield over_images(comparison, [row["mean"]], [int(row["n_test"])], [1], expected=-1, note=NOTE, constant=-chance)
    if not any_evidence:
        yield Evidence("heads on a natural source", note=ABSENT)


def held(transfers: Transfers) -> Iterator[Evidence]:
    """Accuracy under attack of a robust source with the last piece or two retrained, minus that of the source as it is, plus the margin."""
    any_evidence = False
    rows = at(transfers.retrain, measure=transfers.attack)
    for source, group in at(rows, method="retrained").groupby("source", sort=False):
        before = at(rows, method="source", source=source)
        for k in sorted(k for k in group["setting"].unique() if k <= LAST and transfers.robust(source)):
            any_evidence = True
            comparison = f"{transfers.labels[source]}: the last {k:g} retrained, minus the source, plus {MARGIN:g} points"
            yield contrast(comparison, at(group, setting=k), before, 1, MARGIN)
    if not any_evidence:
        yield Evidence("a robust source with its last piece drawn anew", note=ABSENT)


def retrained(transfers: Transfers) -> Iterator[Evidence]:
    any_evidence = False
    for source, group in at(transfers.retrain, method="retrained", measure=transfers.attack).groupby("source", sort=False):
        few, many = group["setting"].min(), group["setting"].max()
        if transfers.robust(source) and few < many:
            any_evidence = True
            yield contrast(
                f"{transfers.labels[source]}: {many:g} pieces minus {few:g}", at(group, setting=many), at(group, setting=few), -1
            )
    if not any_evidence:
        yield Evidence("a robust source with pieces drawn anew", note=ABSENT)


def few_images(transfers: Transfers) -> Iterator[Evidence]:
    rows = at(transfers.harden, measure=BOTH)
    for (source, target), group in rows.groupby(["source", "target"], sort=False):
        fewest = at(group, setting=group["setting"].min())
        for other, name in (("adversarial", "adversarial training"), ("finetuned", "fine-tuning on adversarial examples")):
            comparison = f"{target} from {transfers.labels[source]}, {fewest['setting'].iloc[0]:g} images of each class: head minus {name}"
            yield contrast(comparison, at(fewest, method="transferred"), at(fewest, method=other), 1)
    if rows.empty:
        yield Evidence("three ways of hardening", note=ABSENT)


def masked(transfers: Transfers) -> Iterator[Evidence]:
    """Accuracy under an attack on the margin minus accuracy under one on the cross-entropy, of a natural source."""
    any_evidence = False
    for (source, target), group in transfers.train_heads.groupby(["source", "target"], sort=False):
        deepest = at(group, setting=group["setting"].max(), method=group["method"].iloc[0])
        if transfers.robust(source) or not transfers.margin_attack or deepest["setting"].iloc[0] == 0:
            continue
        any_evidence = True
        comparison = f"{transfers.labels[source]} on {target}, {deepest['setting'].iloc[0]:g} hidden layers"
        yield contrast(comparison, at(deepest, measure=transfers.margin_attack), at(deepest, measure=transfers.attack), -1)
    if not any_evidence:
        yield Evidence("heads with hidden layers, attacked on the margin", note=ABSENT)


def _robust_minus_natural(transfers: Transfers, measure: str, expected: int) -> Iterator[Evidence]:
    """Sources that were trained on the same data, and no others, are compared."""
    any_evidence = False
    linear = at(transfers.train_heads, setting=0.0, measure=measure)
    for (target, data), group in linear.groupby(["target", linear["source"].map(transfers.data_of)], sort=False):
        first = next((row for _, row in group.iterrows() if not transfers.robust(row["source"])), None)
        for _, row in group.iterrows():
            if first is not None and transfers.robust(row["source"]):
                any_evidence = True
                comparison = f"{target}: {transfers.labels[row['source']]} minus {transfers.labels[first['source']]}, from {data}"
                yield contrast(comparison, row.to_frame().T, first.to_frame().T, expected)
    if not any_evidence:
        yield Evidence("heads on frozen features", note=ABSENT)


def contrast(comparison: str, left: pd.DataFrame, right: pd.DataFrame, expected: int, constant: float = 0.0) -> Evidence:
    """The difference of two accuracies, plus a constant; paired where both are of the same images, and with the runs that diverged."""
    if left.empty or right.empty:
        return Evidence(comparison, note=ABSENT)
    pair = [left.iloc[0], right.iloc[0]]
    means, counts = [float(row["mean"]) for row in pair], [int(row["n_test"]) for row in pair]
    one, other = (row["images"] for row in pair)
    paired = one is not None and other is not None and np.array_equal(one.places, other.places)
    shared = statistics.correlation(one.correct, other.correct) if paired else 0.0
    note = PAIRED if paired else NOTE
    evidence = over_images(comparison, means, counts, [1, -1], expected=expected, note=note, constant=constant, correlation=shared)
    diverged, runs = (sum(int(row[column]) for row in pair) for column in ("diverged", "n"))
    return replace(evidence, of=f"{evidence.of}, {diverged} of {runs} runs diverged") if diverged else evidence
