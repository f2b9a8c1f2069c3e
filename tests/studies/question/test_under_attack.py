"""Accuracy under attack as the report shows it, from tables whose every number is known."""

import made
import pandas as pd
import pytest

from stages.lib.report import statistics
from stages.lib.report.looks import Look
from stages.lib.store import tables
from stages.studies.question import figures, under_attack

MODELS = [  # model, source, dataset, blocks, n_images, seed: accuracy without an attack, and lost at eps 0.5 to FGSM and to PGD
    (("source", "natural", "glyphs", "", 0, 0), 90.0, 30.0, 60.0),
    (("source", "l2", "glyphs", "", 0, 0), 80.0, 10.0, 20.0),
    (("finetuned", "natural", "digits", "1", 200, 0), 70.0, 20.0, 50.0),
    (("finetuned", "natural", "digits", "1", 200, 1), 74.0, 20.0, 50.0),
    (("finetuned", "l2", "digits", "1", 200, 0), 66.0, 5.0, 10.0),
    (("finetuned", "l2", "digits", "0", 100, 0), 50.0, 5.0, 10.0),
]


def rows() -> pd.DataFrame:
    found = []
    for model, clean, *lost in MODELS:
        for attack, part in zip(("fgsm", "pgd20", "worst"), (*lost, max(lost)), strict=True):
            for norm, radii in (("l2", (0.0, 0.25, 0.5, 1.0)), ("linf", (0.0, 8 / 255))):
                found += [(*model, attack, norm, eps, clean - part * (eps > 0.3 or norm == "linf") * (eps > 0), 100) for eps in radii]
    return pd.DataFrame(found, columns=list(tables.ATTACKED))


@pytest.fixture
def results():
    checks = [(*MODELS[0][0], "l2", "steps", False, "twice as many steps leave 10%"), (*MODELS[4][0], "linf", "eps", True, "90%, 80%"),
              (*MODELS[4][0], "linf", "gradient", False, "it is zero for 40% of the images")]  # fmt: skip
    return made.results(lambda *_: 1.0, robustness=rows(), checks=pd.DataFrame(checks, columns=list(tables.CHECKS)), sizes=(100, 200))


def test_of_fewer_than_five_models_the_interval_is_over_images(results):
    found = under_attack.against_eps(results).set_index(["panel", "norm", "source", "eps"])
    one = found.loc[("glyphs, source models", "l2", "natural", 0.5)]
    assert one[["mean", "low", "high", "n"]].tolist() == [30.0, *statistics.wilson(30.0, 100), 1]
    two = found.loc[("digits: 200 images, 1 block", "l2", "natural", 0.5)]
    assert two[["mean", "low", "high", "n"]].tolist() == [22.0, *statistics.wilson(22.0, 100), 2]
    assert found.loc[("digits: 200 images, 1 block", "linf", "l2", 8 / 255), "mean"] == 56.0


def test_over_five_models_the_interval_is_over_models_and_random_s_number_of_blocks_stands_beside_the_others():
    lost = {"natural": [10.0, 12.0, 17.0, 20.0, 21.0], "random": [1.0, 2.0, 3.0, 4.0, 5.0]}
    kept = [
        ("finetuned", source, "digits", blocks, 100, seed, "worst", "l2", eps, 90.0 - (eps > 0) * lost[source][seed], 100)
        for source, blocks in (("natural", "1"), ("random", "all"))
        for seed in range(5)
        for eps in (0.0, 0.5)
    ]
    cards = {"natural": made.short_card(), "random": made.short_card(kind="random")}
    results = made.results(lambda *_: 1.0, cards=cards, robustness=pd.DataFrame(kept, columns=list(tables.ATTACKED)), sizes=(100,))
    found = under_attack.against_eps(results).set_index(["panel", "source", "eps"])
    assert set(found.index.get_level_values("panel")) == {"digits: 100 images, 1 block (random: all)"}
    natural = found.xs("natural", level="source").droplevel(0).loc[0.5]
    assert natural[["mean", "n"]].tolist() == [74.0, 5]
    assert natural[["low", "high"]].tolist() != list(statistics.wilson(74.0, 100))


def test_every_kept_model_is_a_point_of_clean_against_robust(results):
    found = under_attack.clean_against_robust(results).set_index(["norm", "source", "blocks", "n_images"])
    assert found.loc[("l2", "natural", "1", 200), ["eps", "clean", "robust"]].tolist() == [0.5, 72.0, 22.0]
    assert found.loc[("l2", "l2", "0", 100), ["eps", "clean", "robust"]].tolist() == [0.5, 50.0, 40.0]
    assert found.loc[("linf", "l2", "1", 200), ["eps", "clean", "robust"]].tolist() == [8 / 255, 66.0, 56.0]
    looks = {"natural": Look("natural", "#111111", "o"), "l2": Look("L2", "#eeeeee", "s")}
    axes = figures.clean_robust(found.reset_index(), looks, "both").axes
    assert [ax.get_title("left") for ax in axes] == ["digits, L2, eps = 0.5", "digits, Linf, eps = 8/255"]
    points = {tuple(point) for collection in axes[0].collections for point in collection.get_offsets().tolist()}
    assert points == {(72.0, 22.0), (66.0, 56.0), (50.0, 40.0)}
    assert [text.get_text() for text in axes[0].texts] == ["1", "1", "0"]


def test_what_each_attack_leaves_has_its_threat_model_its_images_and_its_intervals(results):
    found = {(row["what"], row["source"], row["threat"]): row for row in under_attack.by_attack(results)}
    row = found["on glyphs, its own data", "natural", "L2, eps = 0.5"]
    assert (row["n"], row["models"]) == (100, 1)
    assert row["clean"] == (90.0, *statistics.wilson(90.0, 100))
    assert row["left"] == {name: (left, *statistics.wilson(left, 100)) for name, left in (("fgsm", 60.0), ("pgd20", 30.0), ("worst", 30.0))}
    two = found["on digits: 200 images, 1 block", "natural", "Linf, eps = 8/255"]
    assert two["models"] == 2
    assert two["left"]["fgsm"] == (52.0, *statistics.wilson(52.0, 100))


def test_a_check_that_failed_is_a_doubt(results):
    assert [(d["source"], d["what"], d["norm"], d["says"]) for d in under_attack.doubts(results)] == [
        ("natural", "on glyphs, its own data", "L2", "twice as many steps leave 10%"),
        ("l2", "on digits: 200 images, 1 block", "L∞", "it is zero for 40% of the images"),
    ]


def test_without_attacks_there_is_nothing():
    results = made.results(lambda *_: 1.0)
    assert under_attack.clean_against_robust(results).empty
    assert under_attack.against_eps(results).empty
    assert under_attack.by_attack(results) == under_attack.doubts(results) == []
