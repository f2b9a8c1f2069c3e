"""What the papers claim, and what the results of this configuration say about it.

Utrera et al., "Adversarially-Trained Deep Nets Transfer Better", ICLR 2021, and Shafahi et al., "Adversarially robust transfer
learning", ICLR 2020. Each claim is measured as differences whose sign the claim predicts, per target or source; `study` says
what makes a verdict.
"""

from dataclasses import dataclass

import pandas as pd

from stages.lib.report.study import Evidence, Study
from stages.studies.shafahi2020 import claims as robust
from stages.studies.shafahi2020.numbers import Transfers
from stages.studies.utrera2021 import claims_sources as sources
from stages.studies.utrera2021 import claims_transfer as transfer
from stages.studies.utrera2021.published import Reference

CURVES = "curves, without numbers"


@dataclass(frozen=True)
class Claim:
    number: int
    statement: str
    place: str  # in the paper
    method: str  # how it is measured here
    evidence: list[Evidence]
    published: str  # what its authors measured, on their data and networks


def all_claims(study: Study, transfers: Transfers, reference: Reference) -> list[Claim]:
    """Every claim in the order of the papers: Utrera et al., then Shafahi et al. where one of its sections is on."""
    found = [*_transfer(study, reference), *_similarity(study, reference), *_texture(study, reference)]
    found += [*_perturbations(study), *_sources(study, reference)]
    found += [] if transfers.is_empty else _robust_transfer(transfers, reference)
    return [Claim(number, *rest) for number, rest in enumerate(found, 1)]


def _transfer(study: Study, reference: Reference) -> list[tuple]:
    few = "at the smallest number of images"
    return [
        ("Robust sources transfer better when there are few images", "Section 4, Figure 2", f"the robust source minus natural {few}",
         list(transfer.few_images(study)), reference.gap("l2_eps3", "natural")),
        ("Robust sources transfer better with many images, too", "Section 4, Figure 2b: above zero for all targets",
         "the robust source minus natural at the largest number of images that has enough subsets",
         list(transfer.many_images(study)), reference.smallest_gap("l2_eps3", "natural")),
        ("The advantage shrinks as images are added", "Section 4, Figure 2b",
         f"(the robust source minus natural) {few} minus the same at the largest that has enough subsets, paired by seed",
         list(transfer.shrinks(study)), reference.change("l2_eps3", "natural")),
        ("Robust sources transfer faster", "Section 4, Figure 3: after 11 and 21 epochs",
         "the robust source minus natural early in fine-tuning", list(transfer.faster(study)), CURVES),
        ("The best number of fine-tuned blocks lies between one and three", "Section 4, Figure 4; Appendix A.7, Figure 11",
         "gain of each number of blocks over the next smaller one", list(transfer.blocks(study)), CURVES),
        ("L2 sources transfer better than L∞ sources of any radius", "Section 4, Figure 5d, e", "the L2 source minus each L∞ source",
         list(transfer.norms(study)),
         f"{reference.gap('l2_eps3', 'linf_eps4_255')}. {reference.gap('l2_eps3', 'linf_eps8_255')}"),
    ]  # fmt: skip


def _similarity(study: Study, reference: Reference) -> list[tuple]:
    compare = "mean over the targets of report.similar minus mean over the others, seed by seed"
    near, far = ("cifar10", "cifar100"), ("svhn", "kmnist")
    radii = ("linf_eps4_255", "linf_eps8_255")
    return [
        ("Targets that resemble the source data need fewer fine-tuned blocks", "Section 4, Figure 4b",
         f"gain of three blocks over one: {compare}", list(transfer.similar_blocks(study)), CURVES),
        ("A smaller eps is better for targets that resemble the source data", "Section 4, Figure 5c",
         f"smaller minus larger eps: of each such target, and {compare}", list(transfer.similar_eps(study)),
         f"{reference.gap(*radii, 800, near)}. {reference.gap(*radii, 800, far)}"),
        ("Robustness yields most on the targets that resemble the source data least", "Section 4, Figures 2b and 3b",
         "the robust source minus natural: mean over the other targets minus mean over those of report.similar, seed by seed",
         list(transfer.distinct(study)),
         f"{reference.gap('l2_eps3', 'natural', 100, far)}. {reference.gap('l2_eps3', 'natural', 100, near)}"),
    ]  # fmt: skip


def _texture(study: Study, reference: Reference) -> list[tuple]:
    return [
        ("Adversarial training keeps shapes and drops textures", "Section 5, Tables 1 and 2",
         "on a target whose label is in texture alone, the robust source minus natural; on the source data, the accuracy that natural "
         "loses when texture no longer follows the class, minus what a robust source loses",
         [*sources.texture_targets(study), *sources.texture_loss(study)], reference.stylised()),
    ]  # fmt: skip


def _perturbations(study: Study) -> list[tuple]:
    return [
        ("More attack steps while the source is trained are slightly better", "Section 7, Figure 8a, b", "PGD(k) minus PGD(1)",
         list(sources.more_steps(study)), CURVES),
        ("A targeted adversary is better than a random one", "Section 7, Figure 8a to c", "PGD(k) and PGD(1) minus Gaussian noise",
         list(sources.targeted(study)), CURVES),
        ("A random adversary is better than none", "Section 7, Figure 8c", "Gaussian noise minus natural",
         list(sources.noise(study)), CURVES),
    ]  # fmt: skip


def _sources(study: Study, reference: Reference) -> list[tuple]:
    return [
        ("Pre-training beats random initialisation when there are few images", "Appendix A.5, Table 7",
         "natural minus the whole network trained from random weights, at the smallest number of images",
         list(sources.pretraining(study)), reference.gap("natural", "random_init")),
        ("Robust sources are less accurate on their own data", "Appendix A.10, Table 5",
         "each source that learned from perturbed images minus natural, on the source data's test split",
         list(sources.source_accuracy(study)), reference.source_accuracy()),
        ("What is fine-tuned from a robust source stays more robust", "Shafahi et al. (ICLR 2020), Table 3",
         "accuracy under attack on the target: best robust source minus natural, weights of the kept runs",
         list(sources.robust_targets(study)), reference.robust_targets()),
    ]  # fmt: skip


def _robust_transfer(transfers: Transfers, reference: Reference) -> list[tuple]:
    shafahi = "Shafahi et al. (ICLR 2020)"
    return [
        ("Robustness transfers with robust features", f"{shafahi}, Section 4, Tables 2 and 3",
         "accuracy under attack of a head on frozen features: robust source minus natural", list(robust.features(transfers)),
         reference.frozen("robust", "natural", "pgd20_accuracy")),
        ("Natural sources transfer no robustness", f"{shafahi}, Section 4, Tables 2 and 3",
         "accuracy under attack of a head on a natural source's features, minus that of guessing", list(robust.natural(transfers)),
         reference.frozen("natural", None, "pgd20_accuracy")),
        ("A head on a robust source is less accurate on clean images", f"{shafahi}, Section 4, Tables 2 and 3",
         "clean accuracy of a head on frozen features: robust source minus natural", list(robust.clean(transfers)),
         reference.frozen("robust", "natural", "clean_accuracy")),
        ("Robustness drops as more blocks are retrained", f"{shafahi}, Section 3, Figure 1",
         "accuracy under attack of a robust source: the most pieces retrained minus the head alone",
         list(robust.retrained(transfers)), CURVES),
        ("With few images, transfer is better than adversarial training", f"{shafahi}, Section 4.2, Figure 3",
         "mean of clean accuracy and accuracy under attack at the fewest images: a head on robust features minus the other two ways",
         list(robust.few_images(transfers)), CURVES),
        ("Hidden layers hide gradients of a natural source, not errors", f"{shafahi}, Section 4.2.1, Figure 4",
         "natural source, most hidden layers: accuracy under an attack on the margin minus under one on the cross-entropy",
         list(robust.masked(transfers)), CURVES),
        ("Learning without forgetting keeps robustness", f"{shafahi}, Section 6, Tables 4 to 7",
         "accuracy under attack: the largest lambda_d minus the smallest", list(robust.kept(transfers)),
         reference.forgetting("pgd20_accuracy")),
        ("Learning without forgetting improves clean accuracy", f"{shafahi}, Section 6, Tables 4 to 7",
         "clean accuracy: the lambda_d that keeps most robustness minus the frozen source (on its own data: the source as it is)",
         list(robust.improved(transfers)), reference.forgetting("clean_accuracy")),
    ]  # fmt: skip


def table(claims: list[Claim]) -> pd.DataFrame:
    """One row per piece of evidence, for reports/tables/claims.csv."""
    return pd.DataFrame(
        {"claim": c.number, "statement": c.statement, "place": c.place, "comparison": e.what, "difference": e.mean,
         "low": e.low, "high": e.high, "n": e.n, "n_of": e.of, "verdict": e.verdict, "note": e.note, "published": c.published}
        for c in claims for e in c.evidence
    )  # fmt: skip
