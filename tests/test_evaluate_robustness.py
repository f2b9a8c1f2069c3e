"""Robustness as a stage: a row for each model, norm and radius, and pictures of what the attack does."""

import contextlib
import json
import shutil
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from stages import draw_subsets, evaluate_robustness, finetune
from stages.lib.attacks import evaluation
from stages.lib.datasets import pixels, sampling
from stages.lib.datasets.sets import IMAGES, load
from stages.lib.networks import inference, sources
from stages.lib.runs import attacked, missing
from stages.lib.runs.work import other
from stages.lib.runs.work.attacked import network_of
from stages.lib.settings import params
from stages.lib.store import cells, tables
from stages.lib.workers import executors, pool


def drawn(dataset: str) -> list[np.ndarray]:
    """The images that are attacked, and their labels."""
    x, y = load(dataset, "test")
    return [array[sampling.stratified(y, 16)] for array in (x, y)]


def accuracy(network, x, y) -> float:
    return inference.accuracy(inference.CutNetwork(nn.Identity(), network, inference.View()), x, y)


OUT = tables.robustness("l2_eps0_5")


@pytest.fixture
def ready(runs_ready):
    return runs_ready


def test_every_model_norm_and_radius_has_a_row(ready):
    table = pd.read_parquet(OUT / "robustness.parquet")
    assert list(table) == list(tables.ATTACKED)
    assert sorted(zip(table.attack, table.model, table.dataset, table.norm, table.eps, strict=True)) == [
        (attack, model, dataset, norm, eps)
        for attack in ("apgd_ce_t_pgd", "worst")
        for model, dataset in (("finetuned", "digits"), ("source", "glyphs"))
        for norm, radius in (("l2", 0.5), ("linf", 0.03))
        for eps in (0.0, radius)
    ]
    assert (table.n_test == 16).all()


def test_of_models_that_differ_by_their_subset_alone_the_first_is_checked(ready):
    settings, [source, tuned] = params.section("evaluate_robustness"), attacked.networks_of("l2_eps0_5")
    networks = [source, tuned, replace(tuned, seed=tuned.seed + 1), replace(tuned, blocks="all"), replace(tuned, n_images=20)]
    asked = attacked.evaluations_of(networks, ["l2"], settings, ["natural"])
    assert [one.network for one in asked if one.name == "apgd_ce_t_pgd"] == networks
    assert [one.network for one in asked if one.name == attacked.CHECKING] == [*networks[:2], *networks[3:]]


def test_accuracy_is_the_mean_over_images_and_the_worst_case_that_over_attacks(ready):
    ready.edit("params.yaml", evaluate_robustness__attacks__fgsm={"kind": "fgsm"})
    evaluate_robustness.main("l2_eps0_5")
    key = ["model", "norm", "attack", "eps"]
    images, table = pd.read_parquet(OUT / "images.parquet"), pd.read_parquet(OUT / "robustness.parquet")
    assert dict(images.dtypes.astype(str)) == tables.PER_IMAGE
    assert (100 * images.groupby(key).correct.mean()).to_dict() == pytest.approx(table.set_index(key).accuracy.to_dict())
    by_attack = images.pivot_table(index=["model", "norm", "eps", "image"], columns="attack", values="correct", aggfunc="first").astype(
        bool
    )
    assert (by_attack["worst"] == (by_attack["apgd_ce_t_pgd"] & by_attack["fgsm"])).all()
    within = images[images.norm == "l2"].pivot_table(index=["model", "attack", "image"], columns="eps", values="correct", aggfunc="first")
    assert not (within[0.5] & ~within[0.0].astype(bool)).any(), "what stands within a ball stands at its centre"


def test_the_checks_say_what_they_found(ready):
    table = pd.read_parquet(OUT / "checks.parquet")
    assert dict(table.dtypes.astype(str)) == tables.CHECKS
    names = ["repeat", "batch", "gradient", "slope", "large eps", "one step", "margin", "black box", "transfer"]
    assert {key: list(rows.check) for key, rows in table.groupby(["model", "norm"])} == {
        (model, norm): names for model in ("finetuned", "source") for norm in ("l2", "linf")
    }
    assert table.set_index("check").passed[["repeat", "batch"]].all()
    assert table.says.str.contains("%|of the largest").all()
    assert table[table.check == "transfer"].says.str.contains("adversarial examples of another network").all()


def test_the_images_are_drawn_from_all_classes_and_are_the_same_for_all(ready):
    images, table = pd.read_parquet(OUT / "images.parquet"), pd.read_parquet(OUT / "robustness.parquet")
    for dataset, rows in images.groupby("dataset"):
        labels = load(dataset, "test")[1]
        drawn = sampling.stratified(labels, 16)
        assert {tuple(places) for places in rows.groupby(["model", "attack", "norm", "eps"]).image.unique()} == {tuple(drawn)}
        assert np.ptp(np.bincount(labels[drawn])) <= 1
    assert (
        images.groupby(["model", "attack", "norm", "eps"]).size().to_dict()
        == table.set_index(["model", "attack", "norm", "eps"]).n_test.to_dict()
    )
    examples = np.load(OUT / "examples.npz")
    labels = load("digits", "test")[1]
    assert examples["finetuned_digits_l2_label"].tolist() == labels[examples["finetuned_digits_l2_image"]].tolist()
    assert set(examples["finetuned_digits_l2_image"]) <= set(images[images.dataset == "digits"].image)
    assert len(set(examples["finetuned_digits_l2_label"])) == 8


def test_of_a_split_with_fewer_images_all_are_attacked_and_counted(ready):
    ready.edit("params.yaml", evaluate_robustness__max_images=100_000, evaluate_robustness__l2=[], evaluate_robustness__linf=[])
    evaluate_robustness.main("l2_eps0_5")
    table = pd.read_parquet(OUT / "robustness.parquet")
    assert table.groupby("dataset").n_test.unique().to_dict() == {name: [len(load(name, "test")[1])] for name in ("digits", "glyphs")}


def test_another_network_is_the_first_other_source_with_its_own_head_or_a_fitted_one(ready):
    source, tuned = attacked.networks_of("l2_eps0_5")
    assert [(o.source.name, o.own_head) for o in (attacked.other_of(n, ["random", "l2_eps0_5", "natural"]) for n in (source, tuned))] == [
        ("natural", True), ("natural", False),
    ]  # fmt: skip
    assert attacked.other_of(tuned, ["random", "l2_eps0_5"]) is None
    settings = params.section("evaluate_robustness")
    keys = [{e.name: e.key for e in attacked.evaluations_of([tuned], ["l2"], settings, names)} for names in ([], ["natural"])]
    assert [name for name in keys[0] if keys[0][name] != keys[1][name]] == ["checks"]
    network, (x, y) = (
        other.network_of(attacked.other_of(tuned, ["natural"]), tuned, pixels.prepare, torch.device("cpu")),
        load("digits", "test"),
    )
    assert 100 * np.mean(evaluation.predicted(network, x, pixels.prepare) == y) > 30.0


def test_an_attack_that_is_added_leaves_what_the_others_found_and_the_checks_are_of_all(ready, monkeypatch):
    computed = []
    monkeypatch.setattr(missing.executors, "workers", counted(computed))
    ready.edit("params.yaml", evaluate_robustness__attacks__cw={"kind": "pgd", "loss": "margin", "steps": 1, "step_ratio": 2.0})
    evaluate_robustness.main("l2_eps0_5")
    assert sorted({task.name for task in computed}) == ["checks", "cw"]
    assert {len(task.attacks) for task in computed if task.name == "checks"} == {2}
    assert len(computed) == 2 * 2 * 2  # models x norms x (attack, checks)


def counted(computed: list):
    """The workers, with a list of what they were sent."""
    start = executors.workers

    @contextlib.contextmanager
    def workers(*arguments):
        with start(*arguments) as real:
            yield SimpleNamespace(run_all=lambda function, tasks: computed.extend(tasks) or real.run_all(function, tasks))

    return workers


def test_clean_accuracy_is_that_of_the_network(ready):
    table = (
        pd.read_parquet(OUT / "robustness.parquet")
        .query("eps == 0 and norm == 'l2' and attack == 'apgd_ce_t_pgd'")
        .set_index("model")
        .accuracy
    )
    assert table["source"] == accuracy(sources.load("l2_eps0_5"), *drawn("glyphs"))
    model = attacked.networks_of("l2_eps0_5")[1]
    assert table["finetuned"] == accuracy(network_of(model), *drawn("digits"))


def test_the_restored_network_has_the_accuracy_that_its_run_ended_with(ready):
    model = attacked.networks_of("l2_eps0_5")[1]
    runs = pd.read_parquet(tables.finetuned("l2_eps0_5") / "runs.parquet")
    ended = runs.query(f"blocks == '{model.blocks}' and n_images == {model.n_images} and seed == {model.seed}").test_accuracy.iloc[-1]
    assert accuracy(network_of(model), *load("digits", "test")) == pytest.approx(ended)


def test_examples_stay_within_the_ball_and_the_pixel_range(ready):
    examples = np.load(OUT / "examples.npz")
    for model in ("source", "finetuned_digits"):
        for norm, radius in (("l2", 0.5), ("linf", 0.03)):
            clean, moved = examples[f"{model}_{norm}_clean"], examples[f"{model}_{norm}_adversarial"]
            assert clean.shape == (8, 16, 16, 3)
            assert moved.min() >= 0
            assert moved.max() <= 1
            delta = (moved - clean).reshape(8, -1)
            length = np.linalg.norm(delta, axis=1) if norm == "l2" else np.abs(delta).max(1)
            assert (length <= radius * (1 + 1e-5)).all()
            right = examples[f"{model}_{norm}_predicted_clean"] == examples[f"{model}_{norm}_label"]
            assert right.any()
            assert (length[right] > 0).all(), "a label that is wrong already is not attacked"


def test_pictures_are_made_of_the_networks_that_have_any_in_the_report_and_of_no_others(ready):
    ready.edit("params.yaml", evaluate_robustness__attacks={"one": {"kind": "fgsm"}, "two": {"kind": "fgsm"}})
    networks = attacked.networks_of("l2_eps0_5")
    networks += [replace(network, seed=network.seed + 1) for network in networks if network.kind == "finetuned"]
    settings = params.section("evaluate_robustness")
    asked = attacked.evaluations_of(networks, ["l2", "linf"], settings, ["natural", "l2_eps0_5"])
    seeds = {(one.network.kind, one.network.seed, one.norm, one.name) for one in asked if one.examples}
    first = min(network.seed for network in networks if network.kind == "finetuned")
    assert seeds == {(kind, seed, norm, "one") for kind, seed in (("source", 0), ("finetuned", first)) for norm in ("l2", "linf")}
    assert len({replace(asked[0], examples=examples).key for examples in (True, False)}) == 2


def test_a_second_run_attacks_nothing_and_writes_the_same(ready, monkeypatch):
    before = {path.name: path.read_bytes() for path in OUT.iterdir()}
    monkeypatch.setattr(
        pool.Pool,
        "run_all",
        lambda self, function, tasks: pytest.fail("attacked again") if tasks else iter(()),
    )
    evaluate_robustness.main("l2_eps0_5")
    assert {path.name: path.read_bytes() for path in OUT.iterdir()} == before


def test_random_without_kept_weights_gives_an_empty_table(ready):
    ready.edit("params.yaml", finetune__keep__blocks=[1])
    finetune.main("random")
    evaluate_robustness.main("random")
    assert pd.read_parquet(tables.robustness("random") / "robustness.parquet").empty


def test_the_source_is_attacked_once_for_all_its_targets(ready):
    assert len(list(cells.folder("robustness").rglob("*.json"))) == 2 * 2 * 2  # models x norms x (attack, checks)


def test_every_target_has_rows_checks_and_pictures_of_its_own(ready):
    ready.edit("params.yaml", targets=["digits", "glyphs"])
    draw_subsets.main("glyphs")
    finetune.main("l2_eps0_5")
    evaluate_robustness.main("l2_eps0_5")
    models = {("source", "glyphs"), ("finetuned", "digits"), ("finetuned", "glyphs")}
    for name in ("robustness", "images", "checks"):
        table = pd.read_parquet(OUT / f"{name}.parquet")
        assert set(zip(table.model, table.dataset, strict=True)) == models
    pictures = np.load(OUT / "examples.npz")
    assert {name.removesuffix("_l2_clean") for name in pictures if name.endswith("_l2_clean")} == {
        "source", "finetuned_digits", "finetuned_glyphs"
    }  # fmt: skip
    assert not np.array_equal(pictures["finetuned_digits_l2_label"], pictures["finetuned_glyphs_l2_label"])


def test_without_radii_there_is_clean_accuracy_alone_and_no_picture(ready):
    before = pd.read_parquet(OUT / "robustness.parquet").query("eps == 0").reset_index(drop=True)
    ready.edit("params.yaml", evaluate_robustness__l2=[], evaluate_robustness__linf=[])
    evaluate_robustness.main("l2_eps0_5")
    pd.testing.assert_frame_equal(pd.read_parquet(OUT / "robustness.parquet"), before)
    assert not np.load(OUT / "examples.npz").files


def test_without_radii_and_checks_nothing_is_evaluated(ready, monkeypatch):
    ready.edit("params.yaml", evaluate_robustness__l2=[], evaluate_robustness__linf=[], evaluate_robustness__check_images=0)
    monkeypatch.setattr(evaluate_robustness, "compute", None)
    evaluate_robustness.main("l2_eps0_5")
    assert [len(pd.read_parquet(OUT / f"{name}.parquet")) for name in ("robustness", "images", "checks")] == [0, 0, 0]
    assert dict(pd.read_parquet(OUT / "robustness.parquet").dtypes.astype(str)) == tables.ATTACKED


def without_images(folder) -> None:
    shutil.rmtree(folder)


def without_splits(folder) -> None:
    """As the card of a folder that is not on this machine."""
    card = json.loads((folder / "card.json").read_text())
    (folder / "card.json").write_text(json.dumps(card | {"splits": {}}))


@pytest.mark.parametrize("lose", [without_images, without_splits])
def test_a_source_whose_data_are_not_at_hand_is_left_out(lose, ready):
    lose(IMAGES / "glyphs")
    ready.edit("params.yaml", finetune__keep__n_seeds=0)
    finetune.main("l2_eps0_5")
    evaluate_robustness.main("l2_eps0_5")
    table = pd.read_parquet(OUT / "robustness.parquet")
    assert table.empty
    assert dict(table.dtypes.astype(str)) == tables.ATTACKED
