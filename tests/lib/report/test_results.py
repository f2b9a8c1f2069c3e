"""What results say of sources and of their settings, from tables that are known."""

import made
import pandas as pd
import pytest

from stages.lib.report import results as module
from stages.lib.store.tables import ATTACKED

L2, LINF = {"norm": "l2", "eps": 0.5}, {"norm": "linf", "eps": 8 / 255}
CARDS = {
    "natural": made.short_card(), "none": made.short_card(L2 | {"eps": 0.0}), "l2": made.short_card(L2), "linf": made.short_card(LINF),
    "one": made.short_card(L2 | {"perturbation": "PGD(1)"}), "noise": made.short_card(L2 | {"perturbation": "Gaussian"}),
    "random": made.short_card(kind="random"),
}  # fmt: skip


@pytest.fixture(scope="module")
def results():
    return made.results(lambda source, *_: float(len(source)), cards=CARDS, seeds=2)


def test_a_source_belongs_to_the_family_that_its_colour_goes_by(results):
    assert {name: results.family(name) for name in CARDS} == {
        "natural": "natural", "none": "natural", "l2": "l2", "linf": "linf", "one": "pgd1", "noise": "gaussian", "random": "random",
    }  # fmt: skip
    assert results.of_family("natural") == ["natural", "none"]


def test_robust_are_those_that_learnt_from_many_steps(results):
    assert results.robust == ["l2", "linf"]
    assert results.random == "random"
    assert made.results(lambda *_: 1.0).random is None


def test_norm_radius_and_perturbation_are_those_of_the_card(results):
    assert [(results.norm(n), results.eps(n), results.perturbation(n)) for n in ("natural", "linf", "one")] == [
        (None, 0.0, None), ("linf", 8 / 255, None), ("l2", 0.5, "PGD(1)"),
    ]  # fmt: skip


def test_sources_are_of_one_task_where_images_and_classes_are_the_same():
    same, other = made.short_card(L2) | {"dataset": "glyphs", "part": None}, made.short_card(L2) | {"dataset": "digits", "part": None}
    cards = {"natural": made.short_card() | {"dataset": "glyphs", "part": None}, "same": same, "other": other}
    found = made.results(lambda *_: 0.0, cards=cards)
    assert [found.learnt_as_natural(name) for name in cards] == [True, True, False]


def test_the_last_epoch_of_each_run_is_compared():
    found = made.results(lambda *_: 1.0, epochs=(1, 11))
    assert found.last["epoch"].unique().tolist() == [11]
    assert len(found.runs) == 2 * len(found.last)


def test_sizes_are_in_order_with_all_images_last():
    found = made.results(lambda *_: 1.0, sizes=(400, 50, 100), whole={"digits": 400})
    assert found.sizes == ["50", "100", "all"]


def test_the_best_source_has_the_highest_mean_and_of_equals_the_first():
    rows = pd.DataFrame({"source": ["a", "b", "b", "c"], "test_accuracy": [2.0, 1.0, 3.0, 2.0]})
    assert module.best(rows, ["c", "b", "a"]) == "c"
    assert module.best(rows, ["b", "a"]) == "b"
    assert module.best(rows, ["elsewhere"]) is None


def test_rows_are_chosen_by_the_values_of_their_columns():
    rows = pd.DataFrame({"a": [1, 1, 2], "b": ["x", "y", "x"]})
    assert module.at(rows, a=1, b="y").index.tolist() == [1]
    assert module.row_at(rows, b="x")["a"] == 1
    assert module.row_at(rows, a=3) is None


def test_the_middle_radius_is_that_of_an_attack():
    radii = pd.DataFrame({"eps": [0.0, 0.25, 0.5, 1.0, 0.5]})
    assert module.middle_radius(radii) == 0.5
    assert module.middle_radius(radii[:1]) is None


def test_kept_models_have_the_most_images_and_the_nearest_blocks_and_random_its_own():
    models = [("natural", "0", 50), ("natural", "0", 200), ("natural", "3", 200), ("random", "all", 200)]
    rows = [("finetuned", s, "digits", b, n, 0, "worst", "l2", 0.5, 50.0, 100) for s, b, n in models]
    found = made.results(lambda *_: 0.0, cards=CARDS, robustness=pd.DataFrame(rows, columns=list(ATTACKED)), blocks=("1",))
    assert module.kept_models(found, "digits")[["source", "blocks", "n_images"]].values.tolist() == [
        ["natural", "0", 200], ["random", "all", 200],
    ]  # fmt: skip
    assert module.kept_models(found, "textures").empty


def test_a_model_is_named_beside_its_source():
    row = pd.Series({"model": "finetuned", "dataset": "digits", "n_images": 1600, "blocks": "1"})
    assert module.model_text(row) == "on digits: 1,600 images, 1 block"
    assert module.model_text(row.replace("finetuned", "source")) == "on digits, its own data"


def test_seeds_take_the_models_of_a_source_in_turn_and_a_run_that_diverged_is_marked_in_all_its_rows():
    rows = [(source, seed, measure) for source in ("a", "b") for seed in (7, 9, 11) for measure in ("ap", "ap50")]
    runs = pd.DataFrame([*rows, ("b", 9, "diverged")], columns=["source", "seed", "measure"]).assign(target="t", value=1.0)
    found = module.of_models(runs, {"a": 1, "b": 2})
    assert found["measure"].tolist() == ["ap", "ap50"] * 6
    assert found["source_model"].tolist() == [0] * 6 + [0, 0, 1, 1, 0, 0]
    assert [tuple(row) for row in found.loc[found["diverged"], ["source", "seed"]].to_numpy()] == [("b", 9)] * 2
