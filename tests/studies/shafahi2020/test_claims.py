"""Verdicts on the claims of Shafahi et al., from runs whose every number is known."""

from dataclasses import replace

import made
import made_shafahi
import numpy as np
import pandas as pd
import pytest

from stages.lib.report.evidence import ABSENT, Evidence
from stages.lib.store import tables
from stages.studies.shafahi2020 import claims, published
from stages.studies.shafahi2020 import claims_forgetting as forgetting
from stages.studies.shafahi2020.numbers import OnImages, Transfers

PUBLISHED = published.load()
IMPROVED = "Learning without forgetting improves clean accuracy, and robustness is kept"


@pytest.fixture(scope="module")
def transfers() -> Transfers:
    return made_shafahi.transfers(made_shafahi.rows(), made_shafahi.CARDS)


def evidence(transfers: Transfers) -> dict[str, list]:
    found = claims.claims_of(made.results(lambda *_: 1.0), transfers, PUBLISHED)
    return {claim.statement: claim.evidence for claim in found}


def test_claims_follow_the_numbers(transfers):
    found = evidence(transfers)
    shown = {name: [(round(e.mean, 6), e.verdict) for e in own] for name, own in found.items() if own[0].mean is not None}
    assert shown == {
        "Robustness transfers with robust features": [(28.0, "supports")] * 2,
        "Natural sources transfer no robustness": [(-8.0, "supports")] * 2,
        "A head on a robust source is less accurate on clean images": [(-10.0, "supports")] * 2,
        "The last pieces can be retrained on clean images without losing robustness": [(-1.5, "undecided")],
        "Robustness drops as more blocks are retrained": [(-36.0, "supports")],
        "With few images, transfer is better than adversarial training": [(15.0, "supports"), (10.0, "supports")],
        "Hidden layers hide gradients of a natural source, not errors": [(-22.0, "supports")] * 2,
        "The distance from the source's features helps to keep robustness": [(30.0, "supports")],
        "Learning without forgetting keeps the source's robustness": [(14.0, "supports")],
        "Learning without forgetting improves clean accuracy, and robustness is kept": [(10.0, "supports")],
    }
    assert len(found) == 11  # with the one about fine-tuned models, of which none is attacked here


def test_a_section_that_is_off_leaves_its_claims_open():
    found = evidence(made_shafahi.transfers([row for row in made_shafahi.rows() if row[0] == "retrain"], made_shafahi.CARDS))
    assert {name: own[0].verdict for name, own in found.items() if own[0].mean is not None} == {
        "The last pieces can be retrained on clean images without losing robustness": "undecided",
        "Robustness drops as more blocks are retrained": "supports",
    }
    assert all(own[0].note == "not in this configuration" for own in found.values() if own[0].mean is None)


def test_a_difference_of_models_on_the_same_images_is_paired():
    """What is true of the same images in both is no difference between them; of images that are drawn anew for each, it may be."""
    random = np.random.default_rng(0)
    same, other = (evidence(made_shafahi.transfers(made_shafahi.rows(), made_shafahi.CARDS, order=order))
                   for order in (np.arange, random.permutation))  # fmt: skip
    name = "A head on a robust source is less accurate on clean images"
    (paired, *_), (independent, *_) = same[name], other[name]
    assert paired.mean == independent.mean == -10.0
    assert paired.high - paired.low < 0.7 * (independent.high - independent.low)
    assert "which both were tested on" in paired.note


def test_published_figures_are_quoted_from_their_tables():
    text = {
        claim.statement: claim.published
        for claim in claims.claims_of(
            made.results(lambda *_: 1.0), made_shafahi.transfers(made_shafahi.rows(), made_shafahi.CARDS), PUBLISHED
        )
    }
    assert "cifar100 to cifar10 17.70 − 0.00 = +17.70" in text["Robustness transfers with robust features"]
    assert "imagenet to cifar10+ 0.01 %" in text["Natural sources transfer no robustness"]
    assert "lambda_d=1e-7 0.61 %, lambda_d=0.1 18.62 %" in text["The distance from the source's features helps to keep robustness"]
    assert (
        "cifar100+ to cifar100, lambda_d=0.001: 24.31 − 22.76 = +1.55" in text["Learning without forgetting keeps the source's robustness"]
    )
    improved = text["Learning without forgetting improves clean accuracy, and robustness is kept"]
    assert "cifar100+ to cifar10, lambda_d=0.005: 79.35 − 72.05 = +7.30" in improved, "as 0.0025 loses 2.28 points under attack"
    assert "cifar10+ natural 0.01 %, robust eps=5 22.66 %" in text["What is fine-tuned from a robust source stays more robust"]


def test_without_experiments_the_claim_about_fine_tuning_is_the_only_one():
    [claim] = claims.claims_of(made.results(lambda *_: 1.0), made_shafahi.transfers(), PUBLISHED)
    assert [e.note for e in claim.evidence] == [ABSENT]


@pytest.mark.parametrize(
    ("robust", "n_test", "verdict"),
    [
        (60.0, 400, "supports"),
        (30.0, 400, "contradicts"),
        (49.5, 400, "undecided"),
        (49.5, 20000, "supports"),
        (47.0, 60000, "contradicts"),
    ],
)
def test_robustness_is_not_lost_where_it_is_within_two_points_of_the_source(robust, n_test, verdict):
    rows = [("retrain", "rob", "cifar100", method, k, 0, "pgd20", value)
            for method, k, value in (("source", 0.0, 50.0), ("retrained", 2.0, robust), ("retrained", 17.0, 0.0))]  # fmt: skip
    found = evidence(made_shafahi.transfers(rows, made_shafahi.CARDS, n_test, np.random.default_rng(0).permutation))
    [found] = found["The last pieces can be retrained on clean images without losing robustness"]
    assert (found.mean, found.verdict) == (robust - 50 + 2, verdict)
    assert found.comparison == "rob: the last 2 retrained, minus the source, plus 2 points"


Halves = tuple[float, float]  # accuracies on the validation part of the tested images, and on the others


def swept(
    by_lambda: dict[float, tuple[Halves, Halves]], start: str = "source", n_test: int = 20000, claim: str = IMPROVED
) -> list[Evidence]:
    """Evidence of a claim, from clean accuracies and those under attack by lambda_d; the source has 60 % and 40 %."""
    found = {("written", value): accuracies for value, accuracies in by_lambda.items()} | {(start, 0.0): ((60.0, 60.0), (40.0, 40.0))}
    halves = {(*run, measure): own for run, both in found.items() for measure, own in zip(("clean", "pgd20"), both, strict=True)}
    rows = [("learn_without_forgetting", "rob", "cifar100", method, value, 0, measure, sum(own) / 2)
            for (method, value, measure), own in halves.items()]  # fmt: skip
    transfers = made_shafahi.transfers(rows, made_shafahi.CARDS, n_test)
    table, images = transfers.learn_without_forgetting, []
    for run in zip(table["method"], table["setting"], table["measure"], strict=True):
        images.append(OnImages(np.arange(n_test), np.tile(np.array(halves[run]) / 100, n_test // 2)))
    seen = table.assign(images=pd.Series(images, dtype=object))
    return evidence(replace(transfers, learn_without_forgetting=seen))[claim]


def test_lambda_d_is_chosen_on_other_images_than_it_is_judged_on():
    """By the validation part 0.1 is best, by the other one 0.2; and 0.3 loses robustness, however accurate it is."""
    [found] = swept(
        {
            0.1: ((70.0, 66.0), (41.0, 41.0)),
            0.2: ((66.0, 80.0), (41.0, 41.0)),
            0.3: ((90.0, 90.0), (30.0, 30.0)),
        }
    )
    assert (found.comparison, found.mean, found.n) == ("rob to cifar100, written: lambda_d 0.1 minus the source", pytest.approx(6), 10000)
    assert found.verdict == "supports"
    assert "under attack +1.0 [" in found.note


def test_an_image_that_chooses_lambda_d_by_one_measure_judges_it_by_none():
    """More images are tested than are attacked, and both are halved."""
    rng = np.random.default_rng(0)
    attacked = np.sort(rng.choice(50, 20, replace=False))
    rows = pd.DataFrame({
        "measure": ["clean", "pgd20"], "mean": [40.0, 30.0], "n_test": [50, 20],
        "images": [OnImages(np.arange(50), rng.random(50)), OnImages(attacked, rng.random(20))],
    })  # fmt: skip
    sweep = forgetting.Sweep("", rows, rows, "", forgetting._validation(rows, "pgd20"))
    chooses, judges = (
        {place for images in part["images"] for place in images.places} for part in (sweep.chooses(rows), sweep.judges(rows))
    )
    assert chooses.isdisjoint(judges)
    assert chooses | judges == set(range(50))
    assert sweep.judges(rows)["n_test"].tolist() == [25, 10]
    [clean, _] = sweep.judges(rows)["images"]
    assert sweep.judges(rows)["mean"].iloc[0] == pytest.approx(100 * clean.correct.mean())


@pytest.mark.parametrize(
    ("clean", "robust", "verdict", "said"),
    [
        (70.0, 41.0, "supports", "under attack +1.0"),
        (70.0, 35.0, "undecided", "no verdict, as robustness was lost: under attack −5.0"),
        (70.0, 38.5, "undecided", "under attack −1.5"),  # within the margin, but not surely
        (50.0, 41.0, "contradicts", "under attack +1.0"),
        (60.5, 41.0, "undecided", "under attack +1.0"),
    ],
)
def test_more_accurate_is_better_only_where_robustness_was_kept(clean, robust, verdict, said):
    [found] = swept({0.1: ((65.0, clean), (40.0, robust))})
    assert (found.mean, found.verdict) == (pytest.approx(clean - 60), verdict)
    assert said in found.note


def test_robustness_is_judged_at_the_lambda_d_that_keeps_most_and_not_at_the_largest():
    """By the validation part 0.1 keeps most, by the other one 0.2; with 1 the network does not learn."""
    by_lambda = {
        0.01: ((60.0, 60.0), (20.0, 20.0)),
        0.1: ((60.0, 60.0), (41.0, 40.0)),
        0.2: ((60.0, 60.0), (39.0, 45.0)),
        1.0: ((10.0, 10.0), (5.0, 5.0)),
    }
    [kept] = swept(by_lambda, claim="Learning without forgetting keeps the source's robustness")
    assert (kept.comparison, kept.mean) == ("rob to cifar100, written: lambda_d 0.1 minus the source, plus 2 points", pytest.approx(2))
    assert (kept.verdict, kept.n) == ("supports", 10000)
    [helped] = swept(by_lambda, claim="The distance from the source's features helps to keep robustness")
    assert (helped.comparison, helped.mean) == ("rob to cifar100, written: lambda_d 0.1 minus 0.01", pytest.approx(20))


def test_a_larger_lambda_d_is_compared_with_the_smallest_which_may_keep_most():
    by_lambda = {0.01: ((60.0, 60.0), (41.0, 40.0)), 0.1: ((60.0, 60.0), (20.0, 20.0)), 0.2: ((60.0, 60.0), (5.0, 5.0))}
    claim = "The distance from the source's features helps to keep robustness"
    [found] = swept(by_lambda, claim=claim)
    assert (found.comparison, found.mean) == ("rob to cifar100, written: lambda_d 0.1 minus 0.01", pytest.approx(-20))
    assert found.verdict == "contradicts"
    [alone] = swept({0.01: by_lambda[0.01]}, claim=claim)
    assert (alone.verdict, alone.note) == ("not run", ABSENT)


def test_on_other_data_learning_without_forgetting_is_compared_with_a_head_on_the_source():
    [found] = swept({0.1: ((70.0, 70.0), (20.0, 20.0))}, start="frozen")
    assert found.comparison == "rob to cifar100, written: lambda_d 0.1 minus the frozen source"
    assert found.verdict == "undecided", "as no lambda_d keeps robustness"


def fine_tuned(rows: list[tuple], **more: pd.DataFrame) -> list[Evidence]:
    """Evidence of the claim about fine-tuned models, from accuracies under attack."""
    results = made.results(lambda *_: 0.0, robustness=pd.DataFrame(rows, columns=made.NOTHING.columns), **more)
    return claims.claims_of(results, made_shafahi.transfers(), PUBLISHED)[0].evidence


@pytest.mark.parametrize(
    ("natural", "robust", "verdict"), [(10.0, 60.0, "supports"), (60.0, 10.0, "contradicts"), (50.0, 51.0, "undecided")]
)
def test_robustness_on_the_target_is_judged_at_the_middle_eps(natural, robust, verdict):
    rows = [
        ("finetuned", source, "digits", "1", 200, 0, "worst", "l2", eps, value if eps == 0.5 else 99.0, 200)
        for source, value in (("natural", natural), ("l2", robust))
        for eps in (0.0, 0.25, 0.5, 1.0)
    ]
    [found] = fine_tuned(rows)
    assert (found.mean, found.verdict) == (robust - natural, verdict)


@pytest.mark.parametrize("same", [True, False])
def test_fine_tuned_models_are_compared_image_by_image_where_they_were_attacked_on_the_same_ones(same):
    eps = (0.0, 0.25, 0.5, 1.0)
    values = {"natural": 52.0, "l2": 60.0}
    rows = [("finetuned", source, "digits", "1", 200, 0, "worst", "l2", e, 100.0 if e == 0 else value, 200)
            for source, value in values.items() for e in eps]  # fmt: skip
    of_images = [("finetuned", source, "digits", "1", 200, 0, "worst", "l2", e, image + (source == "l2" and not same), image < 2 * value)
                 for source, value in values.items() for e in eps for image in range(200)]  # fmt: skip
    [found] = fine_tuned(rows, standing=pd.DataFrame(of_images, columns=list(tables.PER_IMAGE)))
    assert (found.mean, found.verdict) == (8.0, "supports" if same else "undecided")
    assert ("which both were tested on" in found.note) == same


@pytest.mark.parametrize(("clean", "verdict"), [(10.0, "undecided"), (38.0, "supports"), (60.0, "supports")])
def test_a_robust_model_that_ignores_its_input_gets_no_verdict_for_resisting_attacks(clean, verdict):
    """A constant answer is right on a tenth of the images under every attack; natural, at 39 % without one, falls to 0."""
    rows = [
        ("finetuned", source, "digits", "1", 200, 0, "worst", "l2", eps, without if eps == 0 else under, 200)
        for source, without, under in (("natural", 39.0, 0.0), ("l2", clean, 10.0))
        for eps in (0.0, 0.25, 0.5, 1.0)
    ]
    [found] = fine_tuned(rows)
    assert (found.mean, found.verdict) == (10.0, verdict)
    assert ("without an attack it is less accurate" in found.note) == (verdict == "undecided")
