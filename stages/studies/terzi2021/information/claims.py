"""What Terzi et al. (2021) claim of information, and what these results say: robust minus natural models, paired by their seed.

Differences of what differs by factors are logarithms to base 2: -1 is a half, +1 is twice as much. Points would be clipped at 100.
"""

from collections.abc import Iterator

import pandas as pd

from stages.lib.report.evidence import ABSENT, Claim, Evidence, over_models
from stages.studies.terzi2021.information.numbers import Information

PAPER = "Terzi et al. (AAAI 2021)"
LOGARITHM = "logarithm to base 2 of robust over natural (−1: a half), by source model"
CURVES = "curves, without numbers"


def claims_of(information: Information) -> list[Claim]:
    """The claims of Sections 3 and 5, in the order of the paper."""
    own = "" if information.is_empty else information.own
    return [
        Claim("Adversarial training lowers the Fisher information of the weights", f"{PAPER}, Section 3",
              f"trace of the diagonal over training images: {LOGARITHM}",
              list(_by_radius(information, own, {"fisher_w": "trace"}, -1)), "no number"),
        Claim("The log-variance of the weights rises with eps", f"{PAPER}, Section 3, Figure 4",
              f"geometric mean of the variances over all weights: {LOGARITHM}",
              list(_by_radius(information, own, {"log_variance": "variance"}, 1)), CURVES),
        Claim("Adversarial training lowers the Fisher information of the representation", f"{PAPER}, Section 3, Proposition 3.2",
              f"trace of F_z|x over test images, with noise of variance 1 and of the variance of the features: {LOGARITHM}",
              list(_by_radius(information, own, {"fisher_z": "noise 1", "fisher_z_relative": "noise of the features"}, -1)), "no number"),
        Claim("Adversarial training lowers the Fisher information of the label", f"{PAPER}, Section 5, Lemma 5.1",
              f"trace of F_y|x over test images: {LOGARITHM}",
              list(_by_radius(information, own, {"fisher_y": "trace"}, -1)), "no number"),
        Claim("Representations of robust sources separate classes of other data better", f"{PAPER}, Section 5",
              "accuracy of nearest neighbours: mean over the robust radii minus natural, by source model",
              list(_of_other_data(information)), "by linear classifiers: Tables 1 to 3"),
        Claim("As eps grows, features separate the classes of their own data less", f"{PAPER}, Section 5, Figure 6",
              "accuracy of nearest neighbours: robust minus natural, by source model",
              list(_by_radius(information, own, {"knn": "neighbours"}, -1)), "pictures"),
    ]  # fmt: skip


def _by_radius(information: Information, target: str, measures: dict[str, str], expected: int) -> Iterator[Evidence]:
    """Each robust radius minus natural.

    Args:
        measures: what a comparison calls a measure, by its name.
    """
    robust = {name: eps for name, eps in information.grid.items() if eps}
    found = False
    for measure, called in measures.items():
        for name, eps in robust.items():
            values = information.differences(name, target, measure)
            if len(values):
                found = True
                yield over_models(f"{called}: eps {eps:g} minus natural", values.to_numpy(), expected)
    if not found:
        yield Evidence("robust minus natural", note=ABSENT)


def _of_other_data(information: Information) -> Iterator[Evidence]:
    """Of each set that the sources have not learnt, after the mean of all: the mean over the robust radii minus natural."""
    robust = [name for name, eps in information.grid.items() if eps]
    others = [] if information.is_empty or not robust else [name for name in information.targets if name != information.own]
    of_each = {target: [information.differences(name, target, "knn") for name in robust] for target in others}
    by_target = {target: pd.concat(differences, axis=1).dropna().mean(axis=1) for target, differences in of_each.items()}
    by_target = {target: values for target, values in by_target.items() if len(values)}
    if len(by_target) > 1:
        mean = pd.concat(by_target.values(), axis=1).dropna().mean(axis=1)
        yield over_models(f"mean of {len(by_target)} sets: robust minus natural", mean.to_numpy())
    for target, values in by_target.items():
        yield over_models(f"{target}: robust minus natural", values.to_numpy())
    if not by_target:
        yield Evidence("robust minus natural on other data", note=ABSENT)
