"""What Salman et al. claim in "Do Adversarially Robust ImageNet Models Transfer Better?" (NeurIPS 2020), and what these results say.

`claims_evidence` measures it; the claim about detection is that of the experiment that trains detectors.
"""

from stages.lib.report.evidence import Claim
from stages.studies.salman2020 import claims_evidence as evidence
from stages.studies.salman2020.published import Published
from stages.studies.salman2020.results import SalmanResults

PAPER = "Salman et al. (NeurIPS 2020)"
CURVES = "curves, without numbers"
CHOSEN = "the best robust radius minus natural: one half of the source models (or subsets) chooses it, the other measures, and in turn"


def claims_of(results: SalmanResults, paper: Published) -> list[Claim]:
    """Every claim of Sections 3 and 4 that fine-tuning can show, in the order of the paper; none where the sources are no grid."""
    return [*_transfer(results, paper), *_radius(results, paper), *_accuracy(results)]


def _transfer(results: SalmanResults, paper: Published) -> list[Claim]:
    return [
        Claim("Robust sources transfer better with fixed features", f"{PAPER}, Section 3.1, Figure 2, Table 1", CHOSEN,
              list(evidence.better(results, "fixed")), paper.gaps("fixed")),
        Claim("Robust sources transfer better as a full network", f"{PAPER}, Section 3.2, Figure 3, Table 1", CHOSEN,
              list(evidence.better(results, "full")), paper.gaps("full")),
    ]  # fmt: skip


def _accuracy(results: SalmanResults) -> list[Claim]:
    return [
        Claim("At a fixed radius, the more accurate source transfers better", f"{PAPER}, Section 4.1, Table 2",
              "points of target accuracy for a point of source accuracy, over all source models, with an intercept for each radius",
              list(evidence.follows(results)), "CIFAR-10, full network: R² is 0.79 of six natural and 0.97 of six L2 3 sources"),
        Claim("Source accuracy predicts more where the radius is fixed", f"{PAPER}, Section 4.1, Figure 5, Table 2",
              "R² (%) within radii minus R² over all radii, both adjusted for the number of points",
              list(evidence.predicts(results)), "Figure 5 against Table 2: without a fixed radius, accuracy falls while transfer rises"),
        Claim("Width helps robust sources", f"{PAPER}, Section 4.3, Figure 6",
              "each wider architecture minus the next narrower one: mean over the robust radii that both have",
              list(evidence.wider(results)), CURVES),
        Claim("Robustness to texture does not explain it", f"{PAPER}, Section 4.5, Figure 8",
              "the best robust radius, chosen and measured on different halves, minus the source of stylised images",
              list(evidence.textures(results)), CURVES),
    ]  # fmt: skip


def _radius(results: SalmanResults, paper: Published) -> list[Claim]:
    return [
        Claim("The best radius depends on the target: coarser classes want a larger one", f"{PAPER}, Section 4.4, Figures 5 and 7",
              "(largest minus smallest robust radius) on the coarser target minus the same on the finer one, by source model",
              list(evidence.coarser(results)), paper.radii()),
        Claim("At a low resolution, a larger radius is better", f"{PAPER}, Section 4.4, Figure 7",
              "(largest minus smallest robust radius) at the low resolution minus the same on the images as they are, by source model",
              list(evidence.low_resolution(results)), CURVES),
    ]  # fmt: skip
