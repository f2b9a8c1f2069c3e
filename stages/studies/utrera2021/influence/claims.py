"""What Utrera et al. (2021) claim of influence in Section 6, and what these results say about it."""

from collections.abc import Iterator

import numpy as np
import pandas as pd

from stages.lib.report import statistics
from stages.lib.report.evidence import ABSENT, Claim, Evidence, over_images, over_seeds
from stages.lib.report.results import at
from stages.lib.report.statistics import MIN_N
from stages.studies.utrera2021.influence import published
from stages.studies.utrera2021.influence.numbers import MEASURES, Influences

BOTH = "robust minus natural"


def claims_of(influences: Influences) -> list[Claim]:
    """The claims of Section 6, in its order; none where the experiment is off."""
    if influences.is_empty:
        return []
    theirs = published.load()
    numbers = "; ".join(f"{MEASURES[name]}: {published.text(theirs, name)}" for name in theirs.index)
    inverses = influences.inverses
    return [
        Claim("The class of a test image helps it more often in robust models", "Section 6, Figure 7a: darker blocks along the diagonal",
              f"{BOTH}: share of the test images that the training images of their own class help most, on average; a comparison for each "
              "inverse of the Hessian", _compared(influences, inverses, ["own_class"]), published.CURVES),
        Claim("The most influential training images have the label of the test image more often in robust models", "Section 6, Figure 7b",
              f"{BOTH}, paired by subset; a comparison for each inverse of the Hessian, as the paper says 1e-20 and its code 0.05",
              _compared(influences, inverses, ["first", "three_of_five"]), numbers),
        Claim("Their labels agree more often by more than the accuracies differ", "Section 6: “not explainable solely from” the accuracy",
              f"gap of the labels minus that of test accuracy, paired by subset; and {BOTH} on the test images that both label correctly",
              list(_beyond_accuracy(influences)), "CIFAR-10: +23.5 for the first image, against about +5 in accuracy"),
        Claim("Robust features put images of a class next to each other, whatever their labels did to the gradients",
              "Section 6: “strong associations to semantically-similar examples”; not measured there",
              f"{BOTH} by the cosine of features, in which no label is; without a verdict: by the gradients of the bias, without features",
              [*_compared(influences, ["features"], ["first", "three_of_five"]), *_compared(influences, ["labels"], ["first"], expected=0)],
              "not given"),
    ]  # fmt: skip


def _compared(influences: Influences, ways: list[str], measures: list[str], expected: int = 1) -> list[Evidence]:
    return [
        _of_subsets(influences, target, way, measure, expected) for target in influences.targets for way in ways for measure in measures
    ]


def _of_subsets(influences: Influences, target: str, way: str, measure: str, expected: int) -> Evidence:
    """Over subsets where there are enough of them; else over test images, of the first subset, where these are known one by one."""
    name = f"{target}, {influences.label(way)}: {MEASURES[measure]}"
    if influences.natural is None or influences.robust is None:
        return Evidence(name, note=ABSENT)
    gap = influences.gap(target, way, measure)
    pair = _on_images(influences, target, way, measure)
    if len(gap) >= MIN_N or pair is None:
        return over_seeds(name, gap, expected)
    return _paired_images(name, *pair, expected)


def _on_images(influences: Influences, target: str, way: str, measure: str) -> tuple[np.ndarray, np.ndarray] | None:
    """Of each test image, whether it is correct for the robust and for the natural model of the first subset; None where not known."""
    rows = at(influences.images, target=target, way=way, measure=measure)
    rows = rows[rows["seed"] == rows["seed"].min()]
    table = rows.pivot_table(index="image", columns="source", values="correct").dropna()
    if not {influences.robust, influences.natural} <= set(table):
        return None
    return table[influences.robust].to_numpy(np.float64), table[influences.natural].to_numpy(np.float64)


def _paired_images(name: str, robust: np.ndarray, natural: np.ndarray, expected: int = 1) -> Evidence:
    percents, counts = [100 * robust.mean(), 100 * natural.mean()], [len(robust)] * 2
    together = statistics.correlation(robust, natural)
    return over_images(name, percents, counts, [1, -1], expected=expected, note="over test images of one subset", correlation=together)


def _beyond_accuracy(influences: Influences) -> Iterator[Evidence]:
    shown = influences.inverses[0]
    for target in influences.targets:
        gap = f"{target}, {influences.label(shown)}: {{}} of {MEASURES['first']}"
        if influences.natural is None or influences.robust is None:
            yield Evidence(gap.format("gap"), note=ABSENT)
            continue
        of_labels, of_accuracy = influences.gap(target, shown, "first"), influences.gap(target, "", "test")
        columns = ["target", "seed", "source_model", "difference", "diverged"]
        left, right = (rows[columns].rename(columns={"difference": "value"}) for rows in (of_labels, of_accuracy))
        yield over_seeds(gap.format("gap") + ", beyond that of accuracy", influences.difference(left, right))
        yield over_seeds(gap.format("gap") + ", of images that both label correctly", both_correct(influences, target, shown, "first"))


def both_correct(influences: Influences, target: str, way: str, measure: str) -> pd.DataFrame:
    """Robust minus natural on the test images that both label correctly: difference, source_model; a row for each subset that has any."""
    rows = at(influences.images, target=target).set_index(["seed", "image"])
    measured, tested = at(rows, way=way, measure=measure), at(rows, way="", measure="test")
    columns = []
    for source in (influences.robust, influences.natural):
        columns += [at(measured, source=source)["correct"].rename(f"{source} has it"), at(tested, source=source)["correct"].rename(source)]
    table = pd.concat(columns, axis=1).dropna().astype(bool)
    robust_has, robust, natural_has, natural = (table[name] for name in table)
    both = robust & natural
    gap = 100 * (robust_has[both].astype(float) - natural_has[both].astype(float)).groupby(level="seed").mean()
    models = influences.gap(target, way, measure).set_index("seed")["source_model"]
    return pd.DataFrame({"difference": gap.to_numpy().round(9), "source_model": models.reindex(gap.index).to_numpy()})
