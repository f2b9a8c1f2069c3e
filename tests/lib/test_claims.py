"""Verdicts from results whose differences are known: they follow the sign, and stay open where they must."""

from itertools import product

import numpy as np
import pandas as pd
import pytest

from stages.lib import claims, study
from stages.lib.study import Study

PUBLISHED = pd.DataFrame(
    [("cifar10", 100, 48.49, 51.89, 49.86, 12.29), ("svhn", 100, 23.5, 37.9, 34.75, 19.14), ("svhn", 73257, 95.33, 96.02, 95.42, 96.53)],
    columns=["target", "n_images", "natural", "l2_eps3", "linf_eps4_255", "random_init"],
)
NOTHING = pd.DataFrame(columns=["model", "source", "dataset", "blocks", "n_images", "seed", "attack", "norm", "eps", "accuracy", "n_test"])


def card(threat: dict | None = None, kind: str = "trained", **accuracy: float) -> dict:
    return {"kind": kind, "threat": threat, "accuracy": accuracy}


def made(lead, seeds: int = 6, textures: tuple = (), robustness: pd.DataFrame = NOTHING, cards: dict | None = None, blocks=("1",)) -> Study:
    """Natural has 60 + seed on digits; `lead(source, blocks, n_images, epoch)` is what another source has more."""
    cards = cards or {"natural": card(), "l2": card({"norm": "l2", "eps": 0.5}), "linf": card({"norm": "linf", "eps": 8 / 255})}
    rows = [
        (source, "digits", b, n, seed, epoch, 60.0 + seed + (0 if source == "natural" else lead(source, b, n, epoch)), f"{seed}")
        for source, b in [(s, b) for s in cards for b in (["all"] if s == "random" else blocks)]
        for n, seed, epoch in product((50, 200), range(seeds), (1, 11))
    ]
    runs = pd.DataFrame(rows, columns=["source", "target", "blocks", "n_images", "seed", "epoch", "test_accuracy", "cell"])
    return Study(
        runs=runs, robustness=robustness, cards=cards, labels={name: name for name in cards}, natural="natural", targets=["digits"],
        textures=list(textures), n_test={"test": 1000, "test_decorrelated": 1000}, blocks=blocks[-1], n_images=200, resamples=200,
    )  # fmt: skip


def evidence(results: Study, number: int) -> list[study.Evidence]:
    return claims.all_claims(results, PUBLISHED)[number - 1].evidence


@pytest.mark.parametrize(("lead", "verdict"), [(5.0, "supports"), (-5.0, "contradicts"), (0.0, "open")])
def test_the_first_claim_follows_the_sign(lead, verdict):
    [found] = evidence(made(lambda *_: lead), 1)
    assert (found.mean, found.low, found.high, found.n, found.verdict) == (lead, lead, lead, 6, verdict)


def test_the_best_robust_source_is_the_one_that_is_compared():
    [found] = evidence(made(lambda source, *_: {"l2": 2.0, "linf": 3.0}[source]), 1)
    assert found.mean == 3.0
    assert "linf minus natural" in found.what
    assert "best of 2" in found.note


def test_few_seeds_leave_it_open():
    [found] = evidence(made(lambda *_: 5.0, seeds=4), 1)
    assert (found.verdict, found.n, found.mean) == ("open", 4, 5.0)


@pytest.mark.parametrize(
    ("few", "many", "verdict"), [(6.0, 2.0, "supports"), (2.0, 6.0, "contradicts"), (4.0, 4.0, "open"), (-6.0, -2.0, "open")]
)
def test_the_advantage_shrinks_only_where_there_is_one(few, many, verdict):
    [found] = evidence(made(lambda s, b, n, e: few if n == 50 else many), 2)
    assert (found.mean, found.verdict) == (few - many, verdict)


def test_speed_is_judged_at_the_first_epoch():
    [found] = evidence(made(lambda s, b, n, epoch: -3.0 if epoch == 1 else 3.0), 3)
    assert (found.mean, found.verdict) == (-3.0, "contradicts")


def test_blocks_are_judged_only_where_the_claim_predicts_a_sign():
    gains = {"0": 0.0, "1": 4.0, "3": 5.0, "9": 1.0}
    found = evidence(made(lambda s, b, *_: gains[b], blocks=tuple(gains)), 4)
    assert [(e.mean, e.verdict) for e in found] == [(4.0, "supports"), (1.0, "open"), (-4.0, "supports")]


def test_norms_are_compared_when_both_are_there():
    [found] = evidence(made(lambda source, *_: {"l2": 2.0, "linf": 3.0}[source]), 5)
    assert (found.mean, found.verdict) == (-1.0, "contradicts")
    [absent] = evidence(made(lambda *_: 1.0, cards={"natural": card(), "l2": card({"norm": "l2", "eps": 1.0})}), 5)
    assert (absent.mean, absent.verdict, absent.note) == (None, "open", study.ABSENT)


def test_source_accuracy_has_an_interval_over_test_images():
    l2 = {"norm": "l2", "eps": 0.5}
    [found] = evidence(made(lambda *_: 0.0, cards={"natural": card(test=95.0), "l2": card(l2, test=85.0)}), 6)
    assert (found.mean, found.verdict, found.n) == (-10.0, "supports", 1000)
    assert found.low < -10 < found.high < 0
    [turned] = evidence(made(lambda *_: 0.0, cards={"natural": card(test=85.0), "l2": card(l2, test=95.0)}), 6)
    assert turned.verdict == "contradicts"


def test_textures_expect_robust_to_lose_and_shapes_to_last():
    cards = {"natural": card(test=99.0, test_decorrelated=70.0), "l2": card({"norm": "l2", "eps": 0.5}, test=95.0, test_decorrelated=93.0)}
    target, loss = evidence(made(lambda *_: -5.0, textures=("digits",), cards=cards), 7)
    assert (target.mean, target.verdict) == (-5.0, "supports")
    assert (loss.mean, loss.verdict) == (27.0, "supports")


def test_pretraining_is_compared_with_the_whole_network_from_random_weights():
    cards = {"natural": card(), "random": card(kind="random")}
    [found] = evidence(made(lambda *_: -20.0, cards=cards), 8)
    assert (found.mean, found.verdict) == (20.0, "supports")


@pytest.mark.parametrize(("natural", "robust", "verdict"), [(10.0, 60.0, "supports"), (60.0, 10.0, "contradicts"), (50.0, 51.0, "open")])
def test_robustness_on_the_target_is_judged_at_the_middle_eps(natural, robust, verdict):
    rows = [
        ("finetuned", source, "digits", "1", 200, 0, "pgd20", "l2", eps, value if eps == 0.5 else 99.0, 200)
        for source, value in (("natural", natural), ("l2", robust))
        for eps in (0.0, 0.25, 0.5, 1.0)
    ]
    [found] = evidence(made(lambda *_: 0.0, robustness=pd.DataFrame(rows, columns=NOTHING.columns)), 9)
    assert (found.mean, found.verdict) == (robust - natural, verdict)


@pytest.mark.parametrize(("clean", "verdict"), [(10.0, "open"), (38.0, "supports"), (60.0, "supports")])
def test_a_robust_model_that_ignores_its_input_gets_no_verdict_for_resisting_attacks(clean, verdict):
    """A constant answer is right on a tenth of the images under every attack; natural, at 39 % without one, falls to 0."""
    rows = [
        ("finetuned", source, "digits", "1", 200, 0, "pgd20", "l2", eps, without if eps == 0 else under, 200)
        for source, without, under in (("natural", 39.0, 0.0), ("l2", clean, 10.0))
        for eps in (0.0, 0.25, 0.5, 1.0)
    ]
    [found] = evidence(made(lambda *_: 0.0, robustness=pd.DataFrame(rows, columns=NOTHING.columns)), 9)
    assert (found.mean, found.verdict) == (10.0, verdict)
    assert ("without an attack it is less accurate" in found.note) == (verdict == "open")


def test_every_claim_is_there_without_any_robust_source():
    found = claims.all_claims(made(lambda *_: 0.0, cards={"natural": card()}), PUBLISHED)
    assert [claim.number for claim in found] == list(range(1, 10))
    assert {e.verdict for claim in found for e in claim.evidence} == {"open"}
    assert len(claims.table(found)) == sum(len(claim.evidence) for claim in found)


def test_published_figures_stand_beside_the_claims():
    found = claims.all_claims(made(lambda *_: 0.0), PUBLISHED)
    assert "natural 48.49 % (+3.40)" in found[0].published
    assert "+0.69 at 73,257" in found[1].published


def test_answers_name_the_best_source_and_its_rival():
    [ours] = study.answers(made(lambda source, *_: {"l2": 2.0, "linf": 3.0}[source]))
    assert (ours.best, ours.rival, ours.difference.mean) == ("linf", "natural", 3.0)
    [theirs] = study.answers(made(lambda source, *_: {"l2": -2.0, "linf": -3.0}[source]))
    assert (theirs.best, theirs.rival, theirs.difference.mean) == ("natural", "l2", 2.0)


def test_judging_looks_at_the_interval_and_the_expected_side():
    assert study.judge(1.0, 2.0) == study.judge(-2.0, -1.0, expected=-1) == "supports"
    assert study.judge(1.0, 2.0, expected=-1) == study.judge(-2.0, -1.0) == "contradicts"
    assert study.judge(-1.0, 1.0) == study.judge(np.nan, np.nan) == "open"


def test_nearest_blocks_counts_all_as_the_most():
    assert study.nearest_blocks(["0", "3", "all"], "1") == "0"
    assert study.nearest_blocks(["0", "3", "all"], "9") == "3"
    assert study.nearest_blocks(["0", "3", "all"], "all") == "all"
    assert study.nearest_blocks([], "1") is None


def test_radii_are_written_as_people_write_them():
    assert study.eps_text("linf", 8 / 255) == "L∞ 8/255"
    assert study.eps_text("linf", 0.5 / 255) == "L∞ 0.5/255"
    assert study.eps_text("l2", 3.0) == "L2 3"
