"""Evidence for the claims of Shafahi et al. (ICLR 2020), from `shafahi.Transfers`.

A model is tested on a few hundred images and trained from a few seeds, so the interval is the one over test images (Newcombe's,
of means over seeds).
"""

from collections.abc import Iterator

import pandas as pd

from stages.lib.report import statistics
from stages.lib.report.study import ABSENT, Evidence, at, judge
from stages.studies.shafahi2020.numbers import BOTH, Transfers, value


def features(transfers: Transfers) -> Iterator[Evidence]:
    """Heads on frozen features, robust source minus natural, under attack."""
    yield from _robust_minus_natural(transfers, transfers.attack, expected=1)


def clean(transfers: Transfers) -> Iterator[Evidence]:
    """Heads on frozen features, robust source minus natural, on clean images."""
    yield from _robust_minus_natural(transfers, "clean", expected=-1)


def natural(transfers: Transfers) -> Iterator[Evidence]:
    """What a natural source's head withstands, against guessing."""
    found = False
    for (source, target), own in transfers.heads.groupby(["source", "target"], sort=False):
        row = value(own, setting=0.0, measure=transfers.attack)
        if row is None or transfers.robust(source):
            continue
        found = True
        chance = 100 / transfers.classes[target]
        mean, low, high = statistics.contrast([row["mean"]], [transfers.n_test], [1])
        yield _evidence(
            transfers, f"{transfers.labels[source]} on {target}, minus {chance:.0f} %", mean - chance, low - chance, high - chance, -1
        )
    if not found:
        yield Evidence("heads on a natural source", note=ABSENT)


def retrained(transfers: Transfers) -> Iterator[Evidence]:
    found = False
    for source, own in at(transfers.retrained, method="retrained", measure=transfers.attack).groupby("source", sort=False):
        few, many = own["setting"].min(), own["setting"].max()
        if transfers.robust(source) and few < many:
            found = True
            yield _contrast(
                transfers, f"{transfers.labels[source]}: {many:g} pieces minus {few:g}", at(own, setting=many), at(own, setting=few), -1
            )
    if not found:
        yield Evidence("a robust source with pieces drawn anew", note=ABSENT)


def few_images(transfers: Transfers) -> Iterator[Evidence]:
    rows = at(transfers.hardened, measure=BOTH)
    for (source, target), own in rows.groupby(["source", "target"], sort=False):
        fewest = at(own, setting=own["setting"].min())
        for other, name in (("adversarial", "adversarial training"), ("finetuned", "fine-tuning on adversarial examples")):
            what = f"{target} from {transfers.labels[source]}, {fewest['setting'].iloc[0]:g} images of each class: head minus {name}"
            yield _contrast(transfers, what, at(fewest, method="transferred"), at(fewest, method=other), 1)
    if rows.empty:
        yield Evidence("three ways of hardening", note=ABSENT)


def masked(transfers: Transfers) -> Iterator[Evidence]:
    """What an attack on the margin leaves, less what one on the cross-entropy does."""
    found = False
    for (source, target), own in transfers.heads.groupby(["source", "target"], sort=False):
        deepest = at(own, setting=own["setting"].max(), method=own["method"].iloc[0])
        if transfers.robust(source) or not transfers.margin_attack or deepest["setting"].iloc[0] == 0:
            continue
        found = True
        what = f"{transfers.labels[source]} on {target}, {deepest['setting'].iloc[0]:g} hidden layers"
        yield _contrast(transfers, what, at(deepest, measure=transfers.margin_attack), at(deepest, measure=transfers.attack), -1)
    if not found:
        yield Evidence("heads with hidden layers, attacked on the margin", note=ABSENT)


def kept(transfers: Transfers) -> Iterator[Evidence]:
    for source, target, swept, _ in _sweeps(transfers):
        rows = at(swept, measure=transfers.attack)
        least, most = rows["setting"].min(), rows["setting"].max()
        what = f"{transfers.labels[source]} to {target}: lambda_d {most:g} minus {least:g}"
        yield _contrast(transfers, what, at(rows, setting=most), at(rows, setting=least), 1)
    if transfers.remembering.empty:
        yield Evidence("learning without forgetting", note=ABSENT)


def improved(transfers: Transfers) -> Iterator[Evidence]:
    for source, target, swept, before in _sweeps(transfers):
        robust = at(swept, measure=transfers.attack)
        best = robust.loc[robust["mean"].idxmax(), "setting"]
        own = before["method"].iloc[0]
        what = f"{transfers.labels[source]} to {target}: lambda_d {best:g} minus the {'source' if own == 'source' else 'frozen source'}"
        yield _contrast(transfers, what, at(swept, setting=best, measure="clean"), at(before, measure="clean"), 1)
    if transfers.remembering.empty:
        yield Evidence("learning without forgetting", note=ABSENT)


def _sweeps(transfers: Transfers) -> Iterator[tuple[str, str, pd.DataFrame, pd.DataFrame]]:
    """Source, target, the sweep over lambda_d, and what it started from: the source on its own data, else with a head of its own."""
    for (source, target), own in transfers.remembering.groupby(["source", "target"], sort=False):
        as_it_is = at(own, method="source")
        yield source, target, at(own, method="lwf"), as_it_is if len(as_it_is) else at(own, method="frozen")


def _robust_minus_natural(transfers: Transfers, measure: str, expected: int) -> Iterator[Evidence]:
    """Sources that were trained on the same data, and no others, are compared."""
    found = False
    linear = at(transfers.heads, setting=0.0, measure=measure)
    for (target, data), own in linear.groupby(["target", linear["source"].map(transfers.data_of)], sort=False):
        first = next((row for _, row in own.iterrows() if not transfers.robust(row["source"])), None)
        for _, row in own.iterrows():
            if first is not None and transfers.robust(row["source"]):
                found = True
                what = f"{target}: {transfers.labels[row['source']]} minus {transfers.labels[first['source']]}, from {data}"
                yield _contrast(transfers, what, row.to_frame().T, first.to_frame().T, expected)
    if not found:
        yield Evidence("heads on frozen features", note=ABSENT)


def _contrast(transfers: Transfers, what: str, ours: pd.DataFrame, theirs: pd.DataFrame, expected: int) -> Evidence:
    if ours.empty or theirs.empty:
        return Evidence(what, note=ABSENT)
    means = [float(rows["mean"].iloc[0]) for rows in (ours, theirs)]
    return _evidence(transfers, what, *statistics.contrast(means, [transfers.n_test] * 2, [1, -1]), expected)


def _evidence(transfers: Transfers, what: str, mean: float, low: float, high: float, expected: int) -> Evidence:
    verdict = judge(low, high, expected)
    note = "interval over test images" + ("" if verdict != "open" else "; it includes zero")
    return Evidence(what, mean, low, high, transfers.n_test, "test images", verdict, note)
