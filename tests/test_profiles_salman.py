"""The profiles of Salman et al., shrunk: photographs and CIFAR-100 from a server here, and small networks in the format of the published ones."""

from pathlib import Path

import numpy as np
import pandas as pd
import photographs
import pytest
import yaml
from checkpoints import robustness_format
from inprocess import run_all, settings_only
from repository import ROOT, Repository, merge
from served import Server, serve_sets
from test_profiles import serve_sources

from stages import plan
from stages.lib.settings import overlays
from stages.lib.store import code

SOURCES = ["salman_resnet50_l2_eps0", "salman_resnet50_l2_eps3"]
TARGETS = ["pets", "cifar100"]
TRIALS, RATES = 2, 2
TINY = {
    "models": SOURCES,
    "sources": SOURCES,
    "datasets": ["imagenet", *TARGETS],
    "targets": TARGETS,
    "upscale": {"image_size": 16},
    "draw_subsets": {"n_seeds": TRIALS},
    "finetune": {"epochs": 2, "eval_every": 1, "batch_size": 150},
}


def run(folder: Path, profile: str, changes: dict) -> Repository:
    """The profile, shrunk, from the download to the report."""
    repository = settings_only(folder, merge(merge(overlays.merged([profile], ROOT / "profiles"), TINY), changes))
    formats = {name: lambda network: robustness_format(network, [0.4] * 3, [0.2] * 3, extra="model.") for name in SOURCES}
    with Server({}) as server:
        photographs.serve(repository, server, "pets", photographs.pets(20, 6))
        serve_sets(repository, server, {"cifar100": (300, 130)})
        repository.edit("data/catalog.yaml", cifar100__metric="mean_per_class")  # as that of pets, whose classes are all of one size here
        serve_sources(repository, server, formats)
        run_all(repository)
    return repository


@pytest.fixture(scope="module")
def fixed(tmp_path_factory) -> Repository:
    return run(tmp_path_factory.mktemp("fixed"), "salman-fixed", {})


@pytest.fixture(scope="module")
def full(tmp_path_factory) -> Repository:
    select = {"by": "validation", "validation": 0.2, "epoch": "best"}
    return run(tmp_path_factory.mktemp("full"), "salman-full", {"finetune": {"select": select}})


def test_fixed_features_are_fine_tuned_at_both_rates_of_which_the_test_images_choose_one(fixed):
    rates, runs = (pd.read_csv(fixed.folder / f"reports/tables/{name}.csv") for name in ("rates", "runs"))
    n = len(SOURCES) * len(TARGETS) * TRIALS
    assert (rates["cell"].nunique(), runs["cell"].nunique()) == (RATES * n, n)
    assert set(runs["blocks"]) == {0}
    assert set(runs["n_images"]) == {60, 300}
    last = rates[rates["epoch"] == 2]
    means = last.groupby(["target", "source", "lr"])["test_mean_per_class"].mean()
    chosen = runs.groupby(["target", "source"])["lr"].unique()
    for (target, source), [lr] in chosen.items():
        assert means[target, source, lr] == means[target, source].max()


def test_each_target_is_reported_by_its_metric_and_the_report_says_which(fixed):
    runs = pd.read_csv(fixed.folder / "reports/tables/runs.csv")
    summary = pd.read_csv(fixed.folder / "reports/tables/summary.csv").set_index(["target", "source"])
    means = runs[runs["reported"]].groupby(["target", "source"])[["test_accuracy", "test_mean_per_class"]].mean()
    assert set(summary["metric"]) == {"mean_per_class"}
    for source in SOURCES:
        assert summary.loc[("cifar100", source), "mean"] == pytest.approx(means.loc[("cifar100", source), "test_mean_per_class"])
    assert not np.allclose(means.loc["cifar100", "test_accuracy"], means.loc["cifar100", "test_mean_per_class"])
    page = fixed.text("reports/report.html")
    assert "Of pets, cifar100 it is the mean accuracy over classes." in page
    assert "The learning rates were chosen on the test images, as published" in page
    assert "By how much was not run" in page
    assert not (fixed.folder / "reports/tables/optimism.csv").exists()


def test_whole_networks_are_chosen_by_validation_images_and_the_report_says_what_test_images_would_have_made_of_it(full):
    rates, runs = (pd.read_csv(full.folder / f"reports/tables/{name}.csv", dtype={"blocks": str}) for name in ("rates", "runs"))
    n = len(SOURCES) * len(TARGETS) * TRIALS
    assert (rates["cell"].nunique(), runs["cell"].nunique()) == (2 * RATES * n, n)
    assert set(runs["blocks"]) == {"all"}
    assert set(rates.loc[rates["held_out"] > 0, "held_out"]) == {12, 60}
    assert runs[runs["reported"]].groupby("cell").size().tolist() == [1] * n
    optimism = pd.read_csv(full.folder / "reports/tables/optimism.csv")
    assert optimism["source"].tolist() == [*np.repeat(SOURCES, 2), "all", "all"]
    assert optimism["n"].tolist() == [TRIALS] * 4 + [len(SOURCES)] * 2
    same = optimism["lr_test"] == optimism["lr_validation"]
    assert (optimism.loc[same, "mean"] >= 0).all(), "the best epoch on the test images is no worse"
    page = full.text("reports/report.html")
    assert "at the best epoch, which the validation images choose" in page
    assert "what the test images choose is" in page


@pytest.mark.parametrize(("profile", "together"), [("salman-fixed", False), ("salman-full", False), ("salman-fixed-fast", True)])
def test_the_plan_knows_every_run_and_how_often_an_image_passes_the_frozen_part(profile, together, monkeypatch):
    monkeypatch.chdir(code.ROOT)
    settings = plan.settings_of([profile])
    assert (len(settings.sources), len(settings.targets)) == (67, 12)
    named = yaml.safe_load((code.ROOT / "models/catalog.yaml").read_text())
    assert set(settings.sources) == {name for name in named if name.startswith("salman_")}
    pair = plan.pair_of(settings, "salman_resnet18_l2_eps3", "cifar10")
    [(kind, work)] = pair.work.items()
    assert (work.runs, work.trained, work.tested) == (2 * 3, 2 * 3 * 150 * 50000, 2 * 3 * 31 * 10000)
    assert kind.fixed_in_all_runs == (frozenset({"train", "test"}) if together else frozenset())
