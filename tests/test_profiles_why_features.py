"""The profile `utrera-why-features`, shrunk, from CIFAR-10 and stand-ins of ImageNet and its sources on a server here to the report."""

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from checkpoints import robustness_format
from inprocess import run_all, settings_only
from repository import ROOT, Repository, merge
from served import Server, folder_archive, serve_sets

from stages.lib.networks.families import small_resnet
from stages.lib.settings import overlays

SOURCES = ["salman_resnet50_l2_eps0", "salman_resnet50_l2_eps3"]
JUDGE = "salman_resnet18_l2_eps3"
CLASSES = 4  # of what stands for ImageNet
TINY = {
    "models": [*SOURCES, JUDGE],
    "upscale": {"image_size": 32},
    "draw_subsets": {"n_images": [20], "n_seeds": 2},
    "finetune": {"epochs": 1, "eval_every": 1, "batch_size": 20, "keep": {"n_images": [20]}},
    "evaluate_robustness": {"max_images": 4, "check_images": 0, "attacks": {"apgd_ce_t_pgd": {"steps": 1, "targets": 1}}},
    "report": {"headline": {"n_images": 20}, "utrera2021": {"epochs_at": [20]}},
    "grid": {"workers": 1},
    "visualise": {"sources": SOURCES, "judges": [JUDGE], "n_starts": 2, "features": [0, 1], "descent": {"steps": 3}, "pictures": 2},
    "invert": {"sources": SOURCES, "judges": [JUDGE], "n_images": 6, "descent": {"steps": 4}, "pictures": 2},
}


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Repository:
    settings = merge(overlays.merged(["utrera-why-features"], ROOT / "profiles"), TINY)
    repository, rng = settings_only(tmp_path_factory.mktemp("why"), settings), np.random.default_rng(0)
    with Server({}) as server:
        serve_sets(repository, server, {"cifar10": (40, 20)})
        [archive] = server.listed({"imagenet.tar.gz": folder_archive(rng, 6, 3, CLASSES, "gz")})
        repository.edit("data/catalog.yaml", imagenet={"kind": "folder", "files": [archive], "crop": 0.875, "classes": CLASSES})
        for seed, name in enumerate([*SOURCES, JUDGE]):
            torch.manual_seed(seed)
            entry = yaml.safe_load(repository.text("models/catalog.yaml"))[name]
            content = robustness_format(small_resnet.published("small_resnet", CLASSES), [0.4] * 3, [0.2] * 3, extra="model.")
            [file] = server.listed({entry["file"]["name"]: content})
            repository.edit("models/catalog.yaml", **{name: entry | {"architecture": "small_resnet", "classes": CLASSES, "file": file}})
        run_all(repository)
    return repository


def test_images_are_judged_where_the_judge_knows_the_classes(finished):
    table = pd.read_csv(finished.folder / "reports/tables/utrera_invert.csv")
    judged = table[table["measure"].str.startswith("recognised_")]
    assert set(judged["target"]) == {"imagenet"}
    assert set(table["target"]) == {"imagenet", "cifar10"}
    assert set(table["source"]) == set(SOURCES)
    features = pd.read_csv(finished.folder / "reports/tables/utrera_visualise.csv")
    assert set(features["target"]) == {"cifar10"}
    assert not features["measure"].isin(["feature", "pixel"]).any()  # a feature's number is no distance


def test_the_page_has_the_figures_of_both_papers_and_the_claims_a_verdict(finished):
    page = finished.text("reports/report.html")
    drawn = {path.stem for path in (finished.folder / "reports/figures").glob("*.svg")}
    assert {"utrera_figure1", "salman_figure1a", "salman_figure1b_inversions_imagenet", "utrera_inversions_cifar10"} <= drawn
    assert "What they see</h2>" in page
    assert "Features and inversions</h2>" in page
    claims = pd.read_csv(finished.folder / "reports/tables/claims.csv")
    ours = claims[claims["statement"].str.contains("representations of robust|robust representations|Features of robust")]
    assert ours["statement"].nunique() == 3
    assert (ours["verdict"] != "not run").all()
    assert ours["n_of"].eq("images").all()  # one model of each source


def test_the_settings_are_those_of_the_published_code():
    settings = overlays.merged(["utrera-why-features"], ROOT / "profiles")
    assert settings["invert"]["descent"] == {"steps": 10000, "step_size": 1.0}
    assert settings["visualise"]["descent"] == {"steps": 200, "step_size": 1.0}
