"""Verdicts from results whose differences are known: they follow the sign, and stay open where they must."""

import made
import pytest

from stages.lib.report import evidence as evidences
from stages.lib.report.evidence import ABSENT, Evidence
from stages.studies.utrera2021 import claims, published
from stages.studies.utrera2021.results import UtreraResults

L2, LINF = {"norm": "l2", "eps": 0.5}, {"norm": "linf", "eps": 8 / 255}
NAMES = {
    "few": 1, "many": 2, "shrinks": 3, "faster": 4, "blocks": 5, "norms": 6, "similar blocks": 7, "similar eps": 8, "distinct": 9,
    "textures": 10, "steps": 11, "targeted": 12, "noise": 13, "pretraining": 14, "source accuracy": 15,
}  # fmt: skip
PUBLISHED = published.load(["digits"])
card = made.short_card


def evidence(results: UtreraResults, name: str) -> list[Evidence]:
    return claims.claims_of(results, PUBLISHED)[NAMES[name] - 1].evidence


def verdicts(found: list[Evidence]) -> list[tuple]:
    return [(e.mean, e.verdict) for e in found]


@pytest.mark.parametrize(("lead", "verdict"), [(5.0, "supports"), (-5.0, "contradicts"), (0.0, "undecided")])
def test_the_first_claim_follows_the_sign(lead, verdict):
    [found] = evidence(made.results(lambda *_: lead), "few")
    assert (found.mean, found.low, found.high, found.n, found.verdict) == (lead, lead, lead, 6, verdict)


def test_the_exemplar_is_compared_even_where_another_source_is_better():
    [found] = evidence(made.results(lambda source, *_: {"l2": 2.0, "linf": 3.0}[source]), "few")
    assert found.mean == 2.0
    assert "l2 minus natural" in found.comparison


def test_few_seeds_leave_it_open():
    [found] = evidence(made.results(lambda *_: 5.0, seeds=4), "few")
    assert (found.verdict, found.n, found.mean) == ("undecided", 4, 5.0)


def test_many_images_are_the_most_that_have_enough_subsets():
    by_size = {100: 1.0, 200: 2.0, 60000: 3.0}
    results = made.results(
        lambda s, t, b, n, e: by_size[n], seeds=lambda s, t, n: 1 if n == 60000 else 6, sizes=(100, 200, 60000), whole={"digits": 60000}
    )
    [found] = evidence(results, "many")
    assert (found.mean, found.n, found.verdict) == (2.0, 6, "supports")
    assert "200 images" in found.comparison


@pytest.mark.parametrize(
    ("few", "many", "verdict"), [(6.0, 2.0, "supports"), (2.0, 6.0, "contradicts"), (4.0, 4.0, "undecided"), (-6.0, -2.0, "undecided")]
)
def test_the_advantage_shrinks_only_where_there_is_one(few, many, verdict):
    [found] = evidence(made.results(lambda s, t, b, n, e: few if n == 50 else many), "shrinks")
    assert (found.mean, found.verdict) == (few - many, verdict)


def test_the_advantage_is_joined_by_the_seeds_that_both_sizes_have():
    [found] = evidence(made.results(lambda s, t, b, n, e: 300 / n, seeds=lambda s, t, n: 20 if n == 50 else 5), "shrinks")
    assert (found.mean, found.n) == (4.5, 5)


@pytest.mark.parametrize(
    ("epochs", "at", "expected"),
    [((1, 11, 21, 30), [], ["epoch 11", "epoch 21"]), ((1, 21, 41, 100), [], ["epoch 21"]), ((1, 11), [], ["epoch 1"]),
     ((1, 5, 9, 10), [], ["epoch 1", "epoch 5"]), ((1, 11, 21, 30), ["50"], ["50 images, epoch 11", "50 images, epoch 21"])],
)  # fmt: skip
def test_speed_is_judged_at_the_paper_s_epochs_or_the_first(epochs, at, expected):
    found = evidence(made.results(lambda s, t, b, n, epoch: -3.0 if epoch < epochs[-1] else 3.0, epochs=epochs, epochs_at=at), "faster")
    assert verdicts(found) == [(-3.0, "contradicts")] * len(expected)
    assert all(text in e.comparison for text, e in zip(expected, found, strict=True))


def test_speed_needs_an_epoch_before_the_last():
    [found] = evidence(made.results(lambda *_: 1.0, epochs=(10,)), "faster")
    assert found.note == ABSENT


def test_blocks_are_judged_only_where_the_claim_predicts_a_sign():
    gains = {"0": 0.0, "1": 4.0, "3": 5.0, "9": 1.0}
    found = evidence(made.results(lambda s, t, b, *_: gains[b], blocks=tuple(gains), threats={"l2": L2}), "blocks")
    assert verdicts(found) == [(4.0, "supports"), (1.0, "undecided"), (-4.0, "supports")] * 2  # of the exemplar, and of natural


def test_norms_are_compared_when_both_are_there():
    [found] = evidence(made.results(lambda source, *_: {"l2": 2.0, "linf": 3.0}[source]), "norms")
    assert (found.mean, found.verdict) == (-1.0, "contradicts")
    [absent] = evidence(made.results(lambda *_: 1.0, threats={"l2": L2}), "norms")
    assert (absent.mean, absent.verdict, absent.note) == (None, "not run", ABSENT)


TWO = {"targets": ("near", "far"), "similar": ["near"]}


@pytest.mark.parametrize(("near", "far", "verdict"), [(1.0, 4.0, "supports"), (4.0, 1.0, "contradicts"), (2.0, 2.0, "undecided")])
def test_similar_targets_gain_less_from_more_blocks(near, far, verdict):
    gain = {"near": near, "far": far}
    results = made.results(lambda s, t, b, *_: gain[t] if b == "3" else 0.0, blocks=("0", "1", "3"), **TWO)
    [found] = evidence(results, "similar blocks")
    assert (found.mean, found.verdict, found.n) == (near - far, verdict, 6)
    assert "near minus far" in found.comparison
    assert "3 blocks minus 1 block" in found.comparison


def test_a_smaller_eps_is_judged_on_similar_targets_and_against_the_others():
    threats = {"small": {"norm": "linf", "eps": 4 / 255}, "large": LINF, "l2": L2}
    lead = {("small", "near"): 5.0, ("large", "near"): 2.0, ("small", "far"): 1.0, ("large", "far"): 3.0}
    found = evidence(made.results(lambda s, t, *_: lead.get((s, t), 0.0), threats=threats, **TWO), "similar eps")
    assert verdicts(found) == [(3.0, "supports"), (5.0, "supports")]
    assert found[1].comparison.startswith("near minus far, 200 images: small minus large")


def test_robustness_yields_most_on_distinct_targets_in_accuracy_and_speed():
    lead = {"near": 2.0, "far": 9.0}
    results = made.results(lambda s, t, b, n, epoch: lead[t] * (1 if epoch == 21 else 2), epochs=(1, 11, 21), threats={"l2": L2}, **TWO)
    found = evidence(results, "distinct")
    assert verdicts(found) == [(7.0, "supports"), (14.0, "supports")]
    assert all(e.comparison.startswith("far minus near") for e in found)


@pytest.mark.parametrize("similar", [[], ["near", "far"]])
@pytest.mark.parametrize("name", ["similar blocks", "distinct"])
def test_similarity_is_no_claim_where_nothing_differs_in_it(name, similar):
    found = evidence(made.results(lambda *_: 1.0, targets=("near", "far"), similar=similar, blocks=("1", "3")), name)
    assert {(e.mean, e.verdict) for e in found} == {(None, "not run")}


PERTURBED = {"l2": L2 | {"perturbation": "PGD(20)"}, "one": L2 | {"perturbation": "PGD(1)"}, "noise": L2 | {"perturbation": "Gaussian"}}


def test_section_7_compares_kinds_of_perturbation():
    results = made.results(lambda source, *_: {"l2": 4.0, "one": 3.0, "noise": 1.0}[source], threats=PERTURBED)
    assert verdicts(evidence(results, "steps")) == [(1.0, "supports")]
    assert verdicts(evidence(results, "targeted")) == [(3.0, "supports"), (2.0, "supports")]
    assert verdicts(evidence(results, "noise")) == [(1.0, "supports")]
    assert results.robust == ["l2"]


def test_many_steps_are_compared_within_the_same_ball():
    threats = {"other": {"norm": "l2", "eps": 3.0}, **PERTURBED}
    [found] = evidence(made.results(lambda source, *_: {"other": 9.0, "l2": 4.0}.get(source, 3.0), threats=threats), "steps")
    assert (found.mean, found.comparison) == (1.0, "digits, 200 images: l2 minus one")


@pytest.mark.parametrize("name", ["steps", "targeted", "noise"])
def test_section_7_is_absent_without_its_sources(name):
    [found] = evidence(made.results(lambda *_: 1.0), name)
    assert (found.mean, found.note) == (None, ABSENT)


def test_source_accuracy_of_one_model_each_has_an_interval_over_test_images_and_no_verdict():
    [found] = evidence(made.results(lambda *_: 0.0, cards={"natural": card(test=95.0), "l2": card(L2, test=85.0)}), "source accuracy")
    assert (found.mean, found.verdict, found.n) == (-10.0, "undecided", 1000)
    assert found.low < -10 < found.high < 0
    assert "no verdict on the sources from fewer than 3 models of each" in found.note


@pytest.mark.parametrize(
    ("lost", "verdict"), [((10.0, 11.0, 9.0), "supports"), ((-10.0, -11.0, -9.0), "contradicts"), ((9.0, 1.0, -8.0), "undecided")]
)
def test_source_accuracy_of_three_models_each_has_an_interval_over_models(lost, verdict):
    cards = {"natural": card(test=95.0), "l2": card(L2, test=85.0)}
    models = {"natural": [card(test=88.0)] * 3, "l2": [card(L2, test=88.0 - points) for points in lost]}
    [found] = evidence(made.results(lambda *_: 0.0, cards=cards, models=models), "source accuracy")
    assert (found.mean, found.n, found.of, found.verdict) == (pytest.approx(-sum(lost) / 3), 3, "source models", verdict)


@pytest.mark.parametrize("other", [{"dataset": "digits"}, {"part": {"of": 2, "number": 0, "seed": 0}}])
@pytest.mark.parametrize(("name", "splits"), [("source accuracy", ["test"]), ("textures", ["test", "test_decorrelated"])])
def test_accuracies_of_other_tasks_are_not_compared(name, splits, other):
    natural, robust = (card(threat, **dict.fromkeys(splits, accuracy)) for threat, accuracy in ((None, 95.0), (L2, 85.0)))
    results = made.results(lambda *_: 0.0, cards={"natural": natural, "l2": robust})
    assert any(e.mean is not None for e in evidence(results, name))
    results = made.results(lambda *_: 0.0, cards={"natural": natural, "l2": robust | other})
    assert [e.mean for e in evidence(results, name) if "not compared" in e.note] == [None]
    assert not any(e.mean is not None for e in evidence(results, name))


def test_source_accuracy_as_published_is_no_evidence():
    cards = {"natural": card() | {"published_accuracy": 76.13}, "l2": card(L2) | {"published_accuracy": 57.9}}
    [found] = evidence(made.results(lambda *_: 0.0, cards=cards), "source accuracy")
    assert (found.mean, found.verdict) == (pytest.approx(-18.23), "undecided")
    assert "not measured here" in found.note


def test_textures_expect_robust_to_lose_and_shapes_to_last():
    cards = {"natural": card(test=99.0, test_decorrelated=70.0), "l2": card(L2, test=95.0, test_decorrelated=93.0)}
    target, loss = evidence(made.results(lambda *_: -5.0, textures=["digits"], cards=cards), "textures")
    assert (target.mean, target.verdict) == (-5.0, "supports")
    assert (loss.mean, loss.verdict) == (27.0, "undecided")  # one model each
    models = {
        name: [entry, entry | {"accuracy": {"test": 98.0, "test_decorrelated": 75.0 if name == "natural" else 92.0}}, entry]
        for name, entry in cards.items()
    }
    assert evidence(made.results(lambda *_: -5.0, cards=cards, models=models), "textures")[-1].verdict == "supports"


def test_pretraining_is_compared_with_the_whole_network_from_random_weights():
    cards = {"natural": card(), "random": card(kind="random")}
    [found] = evidence(made.results(lambda *_: -20.0, cards=cards), "pretraining")
    assert (found.mean, found.verdict) == (20.0, "supports")


def test_every_claim_is_there_without_any_robust_source():
    found = claims.claims_of(made.results(lambda *_: 0.0, threats={}), PUBLISHED)
    assert len(found) == len(NAMES)
    assert {e.verdict for claim in found for e in claim.evidence} == {"not run"}
    assert len(evidences.table(found)) == sum(len(claim.evidence) for claim in found)


def test_every_claim_has_a_place_and_what_was_published():
    for claim in claims.claims_of(made.results(lambda *_: 1.0), PUBLISHED):
        assert claim.place.startswith(("Section", "Appendix"))
        assert claim.published
        assert claim.method
