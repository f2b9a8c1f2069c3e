"""What the paper claims, and what the results of this configuration say about it.

Paper: Utrera et al., "Adversarially-Trained Deep Nets Transfer Better", ICLR 2021. Each claim is measured as a difference
whose sign the claim predicts, per target or source; `study` says what makes a verdict.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd

from stages.lib import statistics
from stages.lib.study import (
    ABSENT,
    Evidence,
    Study,
    at,
    best,
    block_order,
    block_text,
    eps_text,
    images,
    kept_runs,
    over_images,
    over_seeds,
    signed,
)  # fmt: skip


@dataclass(frozen=True)
class Claim:
    number: int
    statement: str
    place: str  # in the paper
    method: str  # how it is measured here
    evidence: list[Evidence]
    published: str = ""  # on other data and another network


def all_claims(study: Study, published: pd.DataFrame) -> list[Claim]:
    """Every claim in the order of the paper; `published` is Table 7: target, n_images and a column per source."""
    said = published.set_index(["target", "n_images"])
    claims = [
        Claim(1, "Robust sources transfer better when there are few images", "Section 4, Figure 2",
              "best robust source minus natural at the smallest subset size",
              list(_few_images(study)), _quote(said, "l2_eps3", "natural", 100, ("cifar10", "svhn"))),
        Claim(2, "The advantage shrinks as images are added", "Section 4, Figure 2b",
              "(best robust minus natural) at the smallest subset size minus the same at the largest, paired by seed",
              list(_shrinks(study)), _shrinking_quote(said)),
        Claim(3, "Robust sources transfer faster", "Section 4, Figure 3",
              "best robust source minus natural after the first evaluated epoch", list(_faster(study))),
        Claim(4, "The best number of fine-tuned blocks lies between one and three", "Section 4, Figure 4",
              "gain of each number of blocks over the next smaller one, best robust source", list(_blocks(study))),
        Claim(5, "L2 sources transfer better than L∞ sources of any radius", "Section 4, Figure 5d, e",
              "best L2 source minus each L∞ source", list(_norms(study)),
              _quote(said, "l2_eps3", "linf_eps4_255", 100, ("cifar10", "svhn"))),
        Claim(6, "Robust sources are less accurate on their own data", "Appendix A.10, Table 5",
              "each robust source minus natural on the source data's test split", list(_source_accuracy(study)),
              "ImageNet: L2 3 57.90 %, natural 76.13 % (−18.23)"),
        Claim(7, "Adversarial training keeps shapes and drops textures", "Section 5, Tables 1 and 2",
              "on a target whose label is in texture alone, best robust minus natural; on the source data, the accuracy that natural "
              "loses when texture no longer follows the class, minus what a robust source loses",
              [*_texture_targets(study), *_texture_loss(study)],
              "Stylised ImageNet, textures destroyed: L2 3 64.2 %, natural 36.1 % (+28.1)"),
        Claim(8, "Pre-training beats random initialisation when there are few images", "Appendix A.5, Table 7",
              "natural minus the whole network trained from random weights, at the smallest subset size",
              list(_pretraining(study)), _quote(said, "natural", "random_init", 100, ("cifar10", "svhn"))),
        Claim(9, "What is fine-tuned from a robust source stays more robust", "Shafahi et al. (ICLR 2020), Table 3",
              "accuracy under attack on the target: best robust source minus natural, weights of the kept runs",
              list(_robust_targets(study)), "CIFAR-10+ under PGD-20, frozen ResNet-50: robust 22.66 %, natural 0.01 % (+22.65)"),
    ]  # fmt: skip
    return claims


def table(claims: list[Claim]) -> pd.DataFrame:
    """One row per piece of evidence, for reports/tables/claims.csv."""
    return pd.DataFrame(
        {"claim": c.number, "statement": c.statement, "place": c.place, "comparison": e.what, "difference": e.mean,
         "low": e.low, "high": e.high, "n": e.n, "n_of": e.of, "verdict": e.verdict, "note": e.note, "published": c.published}
        for c in claims for e in c.evidence
    )  # fmt: skip


def _best_robust(study: Study, target: str, n_images: int, **where: Any) -> tuple[str | None, np.ndarray, str]:
    """The best robust source at this setting, its differences from natural, and what the choice was made from."""
    rows = at(study.last, target=target, n_images=n_images, blocks=study.blocks)
    name = best(rows, study.robust)
    if name is None:
        return None, np.array([]), ""
    wanted = at(study.runs, **where) if where else study.last
    pairs = statistics.minus(at(wanted, target=target, n_images=n_images, blocks=study.blocks), [name], study.natural)
    choice = f"best of {len(study.robust)}, chosen on the same runs" if len(study.robust) > 1 else ""
    return name, pairs["difference"].to_numpy(), choice


def _label(study: Study, name: str | None) -> str:
    return study.labels.get(name, "robust") if name else "robust"


def _few_images(study: Study) -> Iterator[Evidence]:
    for target in study.targets:
        n = study.sizes[0]
        name, differences, choice = _best_robust(study, target, n)
        yield over_seeds(study, f"{target}, {images(n)}: {_label(study, name)} minus natural", differences, note=choice)


def _shrinks(study: Study) -> Iterator[Evidence]:
    few, many = study.sizes[0], study.sizes[-1]
    for target in study.targets:
        name, differences, _ = _best_robust(study, target, few)
        what = f"{target}: {_label(study, name)} minus natural, {few:,} minus {many:,} images"
        if few == many or name is None:
            yield Evidence(what, note=ABSENT)
            continue
        pairs = statistics.minus(at(study.last, target=target, blocks=study.blocks), [name], study.natural)
        change = statistics.paired(at(pairs, n_images=few), at(pairs, n_images=many), ["seed"], "difference")["difference"].to_numpy()
        if statistics.interval(differences, study.resamples)[1] > 0:
            yield over_seeds(study, what, change)
        else:
            yield over_seeds(study, what, change, expected=0, note="no advantage here that could shrink")


def _faster(study: Study) -> Iterator[Evidence]:
    first, last = int(study.runs["epoch"].min()), int(study.runs["epoch"].max())
    for target in study.targets:
        name, differences, choice = _best_robust(study, target, study.n_images, epoch=first)
        what = f"{target}, {images(study.n_images)}, epoch {first} of {last}: {_label(study, name)} minus natural"
        yield Evidence(what, note=ABSENT) if first == last else over_seeds(study, what, differences, note=choice)


def _blocks(study: Study) -> Iterator[Evidence]:
    for target in study.targets:
        rows = at(study.last, target=target, n_images=study.n_images)
        name = best(at(rows, blocks=study.blocks), study.robust)
        ours = at(rows, source=name)
        numbers = sorted(ours["blocks"].unique(), key=block_order)
        if len(numbers) < 2:
            yield Evidence(f"{target}: numbers of blocks", note=f"{ABSENT}: one number of blocks")
        for fewer, more in pairwise(numbers):
            gain = statistics.paired(at(ours, blocks=more), at(ours, blocks=fewer), ["seed"])["difference"].to_numpy()
            expected = _predicted(block_order(fewer), block_order(more))
            note = "" if expected else "the claim predicts no sign between these two"
            what = f"{target}, {images(study.n_images)}, {_label(study, name)}: {block_text(more)} minus {block_text(fewer)}"
            yield over_seeds(study, what, gain, expected, note)


def _predicted(fewer: int, more: int) -> int:
    """Sign of the gain from `fewer` to `more` blocks if the optimum lies within 1 to 3; 0 where that says nothing."""
    if more <= 3:
        return 1 if fewer < 1 else 0
    return -1 if fewer >= 1 else 0


def _norms(study: Study) -> Iterator[Evidence]:
    if not (study.of_norm("l2") and study.of_norm("linf")):
        yield Evidence("L2 minus L∞", note=ABSENT)
        return
    for target in study.targets:
        rows = at(study.last, target=target, n_images=study.n_images, blocks=study.blocks)
        name = best(rows, study.of_norm("l2"))
        for other in study.of_norm("linf"):
            difference = statistics.paired(at(rows, source=name), at(rows, source=other), ["seed"])["difference"].to_numpy()
            what = f"{target}, {images(study.n_images)}: {_label(study, name)} minus {study.labels[other]}"
            yield over_seeds(study, what, difference)


def _source_accuracy(study: Study) -> Iterator[Evidence]:
    natural = study.cards[study.natural]["accuracy"].get("test")
    for name in study.robust:
        what, ours = f"{study.labels[name]} minus natural", study.cards[name]["accuracy"].get("test")
        n = study.n_test.get("test")
        known = ours is not None and natural is not None
        yield over_images(what, [ours, natural], [n, n], [1, -1], expected=-1) if known else Evidence(what, note=ABSENT)
    if not study.robust:
        yield Evidence("robust minus natural", note=ABSENT)


def _texture_targets(study: Study) -> Iterator[Evidence]:
    for target in study.textures:
        n = study.sizes[0]
        name, differences, choice = _best_robust(study, target, n)
        yield over_seeds(study, f"{target}, {images(n)}: {_label(study, name)} minus natural", differences, expected=-1, note=choice)
    if not study.textures:
        yield Evidence("a target with its label in texture alone", note=ABSENT)


def _texture_loss(study: Study) -> Iterator[Evidence]:
    splits = ["test", "test_decorrelated"]
    natural = study.cards[study.natural]["accuracy"]
    for name in study.robust:
        ours, what = study.cards[name]["accuracy"], f"loss without texture cue: natural minus {study.labels[name]}"
        if not all(split in accuracy for split in splits for accuracy in (natural, ours)):
            yield Evidence(what, note=ABSENT)
            continue
        percents = [natural[splits[0]], natural[splits[1]], ours[splits[0]], ours[splits[1]]]
        yield over_images(what, percents, [study.n_test.get(split) for split in splits] * 2, [1, -1, -1, 1])


def _pretraining(study: Study) -> Iterator[Evidence]:
    for target in study.targets:
        n, what = study.sizes[0], f"{target}, {images(study.sizes[0])}: natural minus random initialisation"
        rows = at(study.last, target=target, n_images=n)
        natural, random = at(rows, source=study.natural, blocks=study.blocks), at(rows, source=study.random, blocks="all")
        yield over_seeds(study, what, statistics.paired(natural, random, ["seed"])["difference"].to_numpy())


def _robust_targets(study: Study) -> Iterator[Evidence]:
    found = False
    for target in study.targets:
        rows = kept_runs(study, target)
        for norm in ("l2", "linf"):
            here = at(rows, norm=norm)
            radii = sorted(here.loc[here["eps"] > 0, "eps"].unique())
            if not radii:
                continue
            attacked = at(here, eps=radii[len(radii) // 2])
            scores = attacked.groupby("source")["accuracy"].mean()
            ours = scores.reindex(study.robust).dropna()
            if ours.empty or study.natural not in scores:
                continue
            found, name, first = True, str(ours.idxmax()), attacked.iloc[0]
            setting = f"{images(first['n_images'])}, {eps_text(norm, first['eps'])}"
            what = f"{target}, {setting}: {study.labels[name]} minus natural"
            counts = [int(first["n_test"])] * 2
            evidence = over_images(what, [ours.max(), scores[study.natural]], counts, [1, -1])
            clean = at(here, eps=0.0).groupby("source")["accuracy"].mean().reindex([name, study.natural])
            yield _less_accurate(evidence, clean.tolist(), counts) or evidence
    if not found:
        yield Evidence("weights of fine-tuned models", note=ABSENT)


def _less_accurate(evidence: Evidence, clean: list[float], counts: list[int]) -> Evidence | None:
    """No verdict where the robust model errs more without an attack: a network that ignores its input resists every attack."""
    if pd.isna(clean).any() or statistics.contrast(clean, counts, [1, -1])[2] >= 0:
        return None
    note = f"no verdict: without an attack it is less accurate ({clean[0]:.1f} % against {clean[1]:.1f} %)"
    return replace(evidence, verdict="open", note=note)


def _quote(said: pd.DataFrame, ours: str, theirs: str, n: int, targets: tuple[str, ...]) -> str:
    """Two columns of the published Table 7 against each other."""
    names = {"natural": "natural", "random_init": "random", "l2_eps3": "L2 3", "linf_eps4_255": "L∞ 4/255"}
    parts = []
    for target in targets:
        a, b = said.loc[(target, n), ours], said.loc[(target, n), theirs]
        parts.append(f"{target.upper()}, {n} images: {names[ours]} {a:.2f} %, {names[theirs]} {b:.2f} % ({signed(a - b, 2)})")
    return "; ".join(parts)


def _shrinking_quote(said: pd.DataFrame) -> str:
    gap = (said["l2_eps3"] - said["natural"])[lambda s: s.index.get_level_values("target") == "svhn"].droplevel("target").sort_index()
    return f"SVHN, L2 3 minus natural: {signed(gap.iloc[0], 2)} at {gap.index[0]:,} images, {signed(gap.iloc[-1], 2)} at {gap.index[-1]:,}"
