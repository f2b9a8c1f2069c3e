"""What Utrera et al. claim in "Adversarially-Trained Deep Nets Transfer Better" (ICLR 2021), and what these results say about it.

Each claim is measured as differences whose sign the claim predicts, per target or source; `evidence` says what makes a verdict.
"""

from stages.lib.report.evidence import Claim
from stages.studies.utrera2021 import claims_sources as sources
from stages.studies.utrera2021 import claims_transfer as transfer
from stages.studies.utrera2021.published import Published
from stages.studies.utrera2021.results import UtreraResults

CURVES = "curves, without numbers"


def claims_of(results: UtreraResults, published: Published) -> list[Claim]:
    """Every claim of Sections 4, 5 and 7 and of the appendix, in the order of the paper."""
    return [
        *_transfer(results, published), *_similarity(results, published), *_texture(results, published), *_perturbations(results),
        *_sources(results, published),
    ]  # fmt: skip


def _transfer(results: UtreraResults, published: Published) -> list[Claim]:
    few = "at the smallest number of images"
    return [
        Claim("Robust sources transfer better when there are few images", "Section 4, Figure 2", f"the robust source minus natural {few}",
         list(transfer.few_images(results)), published.gap("l2_eps3", "natural")),
        Claim("Robust sources transfer better with many images, too", "Section 4, Figure 2b: above zero for all targets",
         "the robust source minus natural at the largest number of images that has enough subsets",
         list(transfer.many_images(results)), published.smallest_gap("l2_eps3", "natural")),
        Claim("The advantage shrinks as images are added", "Section 4, Figure 2b",
         f"(the robust source minus natural) {few} minus the same at the largest that has enough subsets, paired by seed",
         list(transfer.shrinks(results)), published.change("l2_eps3", "natural")),
        Claim("Robust sources transfer faster", "Section 4, Figure 3: after 11 and 21 epochs",
         "the robust source minus natural early in fine-tuning", list(transfer.faster(results)), CURVES),
        Claim("The best number of fine-tuned blocks lies between one and three", "Section 4, Figure 4; Appendix A.7, Figure 11",
         "gain of each number of blocks over the next smaller one", list(transfer.blocks(results)), CURVES),
        Claim("L2 sources transfer better than L∞ sources of any radius", "Section 4, Figure 5d, e", "the L2 source minus each L∞ source",
         list(transfer.norms(results)),
         f"{published.gap('l2_eps3', 'linf_eps4_255')}. {published.gap('l2_eps3', 'linf_eps8_255')}"),
    ]  # fmt: skip


def _similarity(results: UtreraResults, published: Published) -> list[Claim]:
    compare = "mean over the targets of report.utrera2021.similar minus mean over the others, seed by seed"
    near, far = ("cifar10", "cifar100"), ("svhn", "kmnist")
    radii = ("linf_eps4_255", "linf_eps8_255")
    return [
        Claim("Targets that resemble the source data need fewer fine-tuned blocks", "Section 4, Figure 4b",
         f"gain of three blocks over one: {compare}", list(transfer.similar_blocks(results)), CURVES),
        Claim("A smaller eps is better for targets that resemble the source data", "Section 4, Figure 5c",
         f"smaller minus larger eps: of each such target, and {compare}", list(transfer.similar_eps(results)),
         f"{published.gap(*radii, 800, near)}. {published.gap(*radii, 800, far)}"),
        Claim("Robustness yields most on the targets that resemble the source data least", "Section 4, Figures 2b and 3b",
         "the robust source minus natural: mean over the other targets minus mean over those of report.utrera2021.similar, seed by seed",
         list(transfer.distinct(results)),
         f"{published.gap('l2_eps3', 'natural', 100, far)}. {published.gap('l2_eps3', 'natural', 100, near)}"),
    ]  # fmt: skip


def _texture(results: UtreraResults, published: Published) -> list[Claim]:
    return [
        Claim("Adversarial training keeps shapes and drops textures", "Section 5, Tables 1 and 2",
         "on a target whose label is in texture alone, the robust source minus natural; on the source data, the accuracy that natural "
         "loses when texture no longer follows the class, minus what a robust source loses",
         [*sources.texture_targets(results), *sources.texture_loss(results)], published.stylised()),
    ]  # fmt: skip


def _perturbations(results: UtreraResults) -> list[Claim]:
    return [
        Claim("More attack steps while the source is trained are slightly better", "Section 7, Figure 8a, b", "PGD(k) minus PGD(1)",
         list(sources.more_steps(results)), CURVES),
        Claim("A targeted adversary is better than a random one", "Section 7, Figure 8a to c", "PGD(k) and PGD(1) minus Gaussian noise",
         list(sources.targeted(results)), CURVES),
        Claim("A random adversary is better than none", "Section 7, Figure 8c", "Gaussian noise minus natural",
         list(sources.noise(results)), CURVES),
    ]  # fmt: skip


def _sources(results: UtreraResults, published: Published) -> list[Claim]:
    return [
        Claim("Pre-training beats random initialisation when there are few images", "Appendix A.5, Table 7",
         "natural minus the whole network trained from random weights, at the smallest number of images",
         list(sources.pretraining(results)), published.gap("natural", "random_init")),
        Claim("Robust sources are less accurate on their own data", "Appendix A.10, Table 5",
         "each source that learned from perturbed images minus natural, on the source data's test split",
         list(sources.source_accuracy(results)), published.source_accuracy()),
    ]  # fmt: skip
