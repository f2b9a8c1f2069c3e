"""What Terzi et al. (2021) claim of inversions, and what these results say: differences on the same images, over source models."""

from collections.abc import Iterator, Mapping

import pandas as pd

from stages.lib.report import statistics
from stages.lib.report.evidence import ABSENT, Claim, Evidence, over_seeds
from stages.lib.report.inversions.claims import IMAGES, noise_helps
from stages.lib.report.inversions.figures import PLAIN
from stages.lib.report.inversions.numbers import MEASURES, RECOGNISED, Optimised
from stages.lib.report.looks import Look
from stages.lib.report.results import at

PAPER = "Terzi et al. (AAAI 2021)"
IMAGE = ("outline", "pixel")  # how far an image is from the original
BY = ["target", "seed", "image", "source_model"]


def claims_of(found: Optimised, radii: Mapping[str, float], looks: Mapping[str, Look]) -> list[Claim]:
    """The claims of Section 4 and Appendix D, in the order of the paper.

    Args:
        radii: eps by source, as `terzi2021.radii` has them; the natural source has 0.
    """

    def helps(*measures: str) -> list[Evidence]:
        given = [evidence for measure in measures for evidence in noise_helps(found, looks, measure)]
        return given or [Evidence("without noise minus noise drawn once", note=ABSENT)]

    after = "without noise minus noise drawn once, after as many steps, paired by image"
    return [
        Claim("Representations of robust sources can be inverted better", f"{PAPER}, Section 4, Figures 1 and 9",
              "mean over the robust radii against the natural source, paired by image: by how much outlines (100 (1 − r), r the "
              "correlation of the strength of edges) and pixels (% of two images of a class) are nearer to the original, and how many "
              "more images a judge takes for their class", list(better(found, radii, looks)), "pictures, without numbers"),
        Claim("Noise on the weights that is drawn once lets representations be reached faster", f"{PAPER}, Section 4, Figure 2",
              f"distance of features from those of the original (% of their length): {after}", helps("feature"),
              "a curve; 200 steps in the place of 8,000"),
        Claim("Noise on the weights that is drawn once improves what is recovered", f"{PAPER}, Section 4, Figure 1, rows 2 and 3",
              f"distance of outlines and of pixels from the original: {after}", helps(*IMAGE), "pictures, without numbers"),
    ]  # fmt: skip


def better(found: Optimised, radii: Mapping[str, float], looks: Mapping[str, Look]) -> Iterator[Evidence]:
    """Of each set and measure, the mean over the robust sources against the natural one: of distances natural minus robust.

    One comparison stands for all radii, so that as many of them as one likes make no further ones.
    """
    [natural, *robust] = radii
    plain = at(found.images, method=PLAIN)
    for target in plain["target"].unique():
        rows = at(plain, target=target)
        for measure in [*IMAGE, *(RECOGNISED + judge for judge in found.judges)]:
            own, theirs = at(rows, source=natural), mean_of(rows[rows["source"].isin(robust)], measure)
            if measure in MEASURES:
                yield over_seeds(f"{target}, {MEASURES[measure]}: natural minus robust", _minus(own, theirs, measure), counted=IMAGES)
            elif len(pairs := _minus(theirs, own, measure)):  # a judge says nothing of sets whose classes it has not learnt
                judge = measure.removeprefix(RECOGNISED)
                called = looks[judge].label if judge in looks else judge
                yield over_seeds(f"{target}, recognised by another {called}: robust minus natural", pairs, counted=IMAGES)


def mean_of(rows: pd.DataFrame, measure: str) -> pd.DataFrame:
    """A measure of each image of each source model, mean over sources; of images that all of the sources have."""
    sources = rows["source"].nunique()
    means = rows.dropna(subset=[measure]).groupby(BY, sort=False)[measure].agg(["mean", "size"])
    return means[means["size"] == sources]["mean"].rename(measure).reset_index()


def _minus(left: pd.DataFrame, right: pd.DataFrame, measure: str) -> pd.DataFrame:
    return statistics.paired(left.dropna(subset=[measure]), right.dropna(subset=[measure]), ["target", "seed", "image"], value=measure)
