"""What inversions are evidence of: that those of one source are closer than another's, that they are recognised, that noise helps.

Differences are paired by image. Of sources of three and more models the models are what varies; of one model each, the images are.
"""

from collections.abc import Iterator, Mapping, Sequence

from stages.lib.report.cards import Card, robust_of
from stages.lib.report.evidence import Evidence, over_seeds
from stages.lib.report.inversions.figures import PLAIN, way_text
from stages.lib.report.inversions.numbers import MEASURES, RECOGNISED, WAY, Optimised, minus
from stages.lib.report.looks import Look
from stages.lib.report.results import at

IMAGES = "images"  # what differences are counted as


def closer(
    found: Optimised, cards: Mapping[str, Card], natural: str | None, looks: Mapping[str, Look],
    measures: Sequence[str] = ("pixel", "outline"),
) -> Iterator[Evidence]:  # fmt: skip
    """Of each robust source, set and measure: distance of the natural source's inversions from the original minus that of its own."""
    for target in found.images["target"].unique():
        rows = at(found.images, target=target, method=PLAIN)
        for measure in measures:
            for source in robust_of(cards):
                pairs = minus(rows, measure, {"source": natural}, {"source": source})
                yield over_seeds(f"{target}, {MEASURES[measure]}: natural minus {looks[source].label}", pairs, counted=IMAGES)


def recognised(
    found: Optimised, cards: Mapping[str, Card], natural: str | None, looks: Mapping[str, Look], method: str = PLAIN
) -> Iterator[Evidence]:  # fmt: skip
    """Of each robust source, set and judge: images that the judge takes for their class, of the robust source minus the natural one."""
    for target in found.images["target"].unique():
        rows = at(found.images, target=target, method=method)
        for source in robust_of(cards):
            for judge in found.judges:
                pairs = minus(rows, RECOGNISED + judge, {"source": source}, {"source": natural})
                if len(pairs):  # a judge says nothing of sets whose classes it has not learnt
                    text = f"{target}, recognised by another {looks[judge].label if judge in looks else judge}"
                    yield over_seeds(f"{text}: {looks[source].label} minus natural", pairs, counted=IMAGES)


def noise_helps(found: Optimised, looks: Mapping[str, Look], measure: str = "pixel") -> Iterator[Evidence]:
    """Of each source, set and level of noise that is drawn once: distance without noise minus that with it, after the same steps.

    Args:
        measure: `pixel`, or `feature`, which is measured without noise (Terzi et al. 2021, Section 4 and Figure 2).
    """
    ways = found.images[["source", *WAY]].drop_duplicates()
    for source, target, method, setting in at(ways, method="variational").itertuples(index=False, name=None):
        rows = at(found.images, source=source, target=target)
        pairs = minus(rows, measure, {"method": PLAIN}, {"method": method, "setting": setting})
        name = f"{looks[source].label} on {target}: {way_text(PLAIN, 0)} minus {way_text(method, setting)}"
        yield over_seeds(name, pairs, counted=IMAGES)
