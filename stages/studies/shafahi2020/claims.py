"""What Shafahi et al. claim in "Adversarially robust transfer learning" (ICLR 2020), and what these results say about it."""

from stages.lib.report.evidence import Claim
from stages.lib.report.results import Results
from stages.studies.shafahi2020 import claims_evidence as evidence
from stages.studies.shafahi2020 import claims_forgetting as forgetting
from stages.studies.shafahi2020.claims_evidence import MARGIN
from stages.studies.shafahi2020.numbers import Transfers
from stages.studies.shafahi2020.published import Published

PAPER = "Shafahi et al. (ICLR 2020)"
CURVES = "curves, without numbers"


def claims_of(results: Results, transfers: Transfers, published: Published) -> list[Claim]:
    """The claim about what was fine-tuned, and those about the experiments, where one of them is on."""
    return [_of_fine_tuning(results, published), *([] if transfers.is_empty else _of_experiments(transfers, published))]


def _of_fine_tuning(results: Results, published: Published) -> Claim:
    return (
        Claim("What is fine-tuned from a robust source stays more robust", f"{PAPER}, Table 3",
         "accuracy under attack on the target: best robust source minus natural, weights of the kept runs",
         list(evidence.fine_tuned(results)), published.robust_targets())
    )  # fmt: skip


def _of_experiments(transfers: Transfers, published: Published) -> list[Claim]:
    return [
        Claim("Robustness transfers with robust features", f"{PAPER}, Section 4, Tables 2 and 3",
         "accuracy under attack of a head on frozen features: robust source minus natural", list(evidence.features(transfers)),
         published.frozen("robust", "natural", "pgd20_accuracy")),
        Claim("Natural sources transfer no robustness", f"{PAPER}, Section 4, Tables 2 and 3",
         "accuracy under attack of a head on a natural source's features, minus that of guessing", list(evidence.natural(transfers)),
         published.frozen("natural", None, "pgd20_accuracy")),
        Claim("A head on a robust source is less accurate on clean images", f"{PAPER}, Section 4, Tables 2 and 3",
         "clean accuracy of a head on frozen features: robust source minus natural", list(evidence.clean(transfers)),
         published.frozen("robust", "natural", "clean_accuracy")),
        Claim("The last pieces can be retrained on clean images without losing robustness", f"{PAPER}, Section 3, Figure 1",
         f"accuracy under attack of a robust source, plus {MARGIN:g} points: the last one or two pieces retrained minus it as it is",
         list(evidence.held(transfers)), CURVES),
        Claim("Robustness drops as more blocks are retrained", f"{PAPER}, Section 3, Figure 1",
         "accuracy under attack of a robust source: the most pieces retrained minus the head alone",
         list(evidence.retrained(transfers)), CURVES),
        Claim("With few images, transfer is better than adversarial training", f"{PAPER}, Section 4.2, Figure 3",
         "mean of clean accuracy and accuracy under attack at the fewest images: a head on robust features minus the other two ways",
         list(evidence.few_images(transfers)), CURVES),
        Claim("Hidden layers hide gradients of a natural source, not errors", f"{PAPER}, Section 4.2.1, Figure 4",
         "natural source, most hidden layers: accuracy under an attack on the margin minus under one on the cross-entropy",
         list(evidence.masked(transfers)), CURVES),
        Claim("The distance from the source's features helps to keep robustness", f"{PAPER}, Section 6, Tables 4 to 7",
         "accuracy under attack: the larger lambda_d that keeps most minus the smallest, on the images that do not choose it",
         list(forgetting.helped(transfers)) or [forgetting.NOT_RUN], published.forgetting("pgd20_accuracy")),
        Claim("Learning without forgetting keeps the source's robustness", f"{PAPER}, Section 6, Tables 4 to 7",
         f"accuracy under attack, plus {MARGIN:g} points: the lambda_d that keeps most minus the source as it is (or with a head), "
         "on the images that do not choose it",
         list(forgetting.kept(transfers)) or [forgetting.NOT_RUN], published.kept()),
        Claim("Learning without forgetting improves clean accuracy, and robustness is kept", f"{PAPER}, Section 6, Tables 4 to 7",
         "clean accuracy: lambda_d minus the source as it is (on other data: with a head), on half of the tested images. The others choose "
         f"lambda_d: the most accurate that loses at most {MARGIN:g} points under attack. Supported only where it loses no more here, too",
         list(forgetting.improved(transfers)) or [forgetting.NOT_RUN], published.improved(MARGIN)),
    ]  # fmt: skip
