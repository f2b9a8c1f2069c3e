"""What a source is called, and which family it belongs to, as its card says."""

import pytest

from stages.lib.report import cards

L2 = {"norm": "l2", "eps": 0.5}


def card(threat: dict | None = None, kind: str = "trained", **more: object) -> dict:
    return {"kind": kind, "threat": threat, **more}


@pytest.mark.parametrize(
    ("card", "family", "text"),
    [
        (card(), "natural", "none"), (card(L2 | {"eps": 0.0}), "natural", "none"), (card(kind="random"), "random", "none"),
        (card(L2), "l2", "L2 0.5"), (card({"norm": "linf", "eps": 8 / 255, "perturbation": "PGD(3)"}), "linf", "L∞ 8/255, PGD(3)"),
        (card(L2 | {"perturbation": "PGD(1)"}), "pgd1", "L2 0.5, PGD(1)"), (card(L2 | {"perturbation": "Gaussian"}), "gaussian", "L2 0.5, Gaussian"),
    ],
)  # fmt: skip
def test_a_source_belongs_to_the_family_of_its_threat_model(card, family, text):
    assert cards.family_of(card) == family
    assert cards.threat_text(card) == text


def test_sources_of_one_step_are_robust_ones_where_there_is_none_of_many():
    sources = {"natural": card(), "noise": card(L2 | {"perturbation": "Gaussian"}), "one": card(L2 | {"perturbation": "PGD(1)"})}
    assert cards.robust_of(sources) == ["one"]
    assert cards.robust_of(sources | {"many": card(L2 | {"perturbation": "PGD(2)"})}) == ["many"]
    assert cards.robust_of({"natural": card()}) == []


@pytest.mark.parametrize(
    ("threats", "labels"),
    [
        ({"a": ("l2", 0.5, None), "b": ("linf", 8 / 255, None)}, {"a": "L2 0.5", "b": "L∞ 8/255"}),
        ({"a": ("l2", 0.5, "PGD(1)"), "b": ("l2", 0.5, "PGD(3)")}, {"a": "PGD(1), L2 0.5", "b": "L2 0.5"}),
        ({"a": ("l2", 0.5, None), "b": ("l2", 0.5, None)}, {"a": "a", "b": "b"}),  # two that would be called the same
        ({"a": ("l2", 0.0, None)}, {"a": "a"}),
    ],
)
def test_a_source_is_called_by_its_threat_model(threats, labels):
    sources = {"first": {"kind": "trained", "threat": None}, "none": {"kind": "random", "threat": None}}
    sources |= {
        name: {"kind": "trained", "threat": {"norm": norm, "eps": eps, "perturbation": kind}} for name, (norm, eps, kind) in threats.items()
    }
    assert cards.labels_of(sources, "first") == {"first": "natural", "none": "random"} | labels


@pytest.mark.parametrize(
    ("card", "label"),
    [
        (card(), "natural"), (card(L2), "L2 0.5"), (card(L2 | {"perturbation": "free(4)"}), "L2 0.5, free(4)"),
        (card(L2 | {"perturbation": "PGD(3)"}, part={"of": 3, "number": 1, "seed": 0}), "L2 0.5, part 2 of 3"),
    ],
)  # fmt: skip
def test_in_experiments_the_part_of_the_classes_and_free_training_are_said(card, label):
    assert cards.label_in_experiments("name", card) == label


def models(*accuracies: float | None, n: int | None = 1000, commonest: float = 4.9) -> list[dict]:
    """Cards of the models of a source of 24 classes."""
    counts = {"n_test": {"test": n}, "commonest": {"test": commonest}} if n else {}
    return [
        card(name="s", number=i, classes=24, dataset="glyphs", accuracy={} if accuracy is None else {"test": accuracy}, **counts)
        for i, accuracy in enumerate(accuracies)
    ]


@pytest.mark.parametrize(
    ("tested", "numbers"),
    [
        (models(99.0), []), (models(None), []), (models(3.0), [0]), (models(6.1), [0]), (models(12.0), []),  # of one model, guessing
        (models(45.0, commonest=40.0), []), (models(41.0, commonest=40.0), [0]), (models(12.0, n=30), [0]),  # is what counts
        (models(83.1, 12.0, 80.2, 84.0), [1]), (models(12.0, 12.4, 11.0, 84.0), [0, 1, 2]),  # of several, the best one, too
        (models(84.0, 47.0), []), (models(84.0, 44.0), [1]), (models(84.0, None, 12.0), [2]), (models(None, 12.0), []),
        (models(50.0, 20.0, n=20), []), (models(50.0, 20.0, n=200), [1]),  # beyond chance
        (models(4.1, n=None), [0]), (models(4.2, n=None), []), (models(4.2, 80.0, n=None), [0]),  # cards that hold no counts
    ],
)  # fmt: skip
def test_a_model_has_not_learnt_that_guesses_or_is_far_below_the_best_of_its_source(tested, numbers):
    assert [model.number for model in cards.unlearnt(tested)] == numbers


def test_a_model_that_has_not_learnt_is_said_with_what_shows_it():
    [of_four] = cards.unlearnt(models(83.14, 12.0, 80.2, 84.0))
    assert of_four.text == (
        "model 2 of 4 has not learnt its own data: 12.0 % of the test images of glyphs, and another model of the source has 84.0 %"
    )
    [alone] = cards.unlearnt(models(4.0))
    assert alone.text == "has not learnt its own data: 4.0 % of the test images of glyphs, and one answer to all of them has 4.9 %"
