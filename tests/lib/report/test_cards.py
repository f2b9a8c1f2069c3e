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
