"""The profile `salman-detection`, shrunk, from archives of VOC and COCO in the real formats on a server here to the report."""

import numpy as np
import pandas as pd
import pytest
import torch
from checkpoints import robustness_format
from inprocess import run_all, settings_only
from repository import ROOT, Repository, loaded, merge
from served import Server, folder_archive, serve_sets
from served_objects import COCO_NUMBERS, coco, voc

from stages import plan
from stages.lib.networks.families import small_resnet
from stages.lib.settings import overlays

SOURCES = ["salman_resnet50_l2_eps0", "salman_resnet50_l2_eps3"]
CLASSES = 4  # of what stands for ImageNet
SHORT = {"iterations": 3, "batch_size": 2, "drops": [2], "shorter": [48, 56], "longest": 96}
TINY = {
    "models": SOURCES,
    "sources": SOURCES,
    "upscale": {"image_size": 40},
    "draw_subsets": {"n_images": [20], "n_seeds": 2},
    "finetune": {"epochs": 1, "eval_every": 1, "batch_size": 20, "keep": {"n_images": [20]}},
    "evaluate_robustness": {"max_images": 4, "check_images": 0, "attacks": {"apgd_ce_t_pgd": {"steps": 1, "targets": 1}}},
    "report": {"headline": {"n_images": 20}, "utrera2021": {"epochs_at": [20]}},
    "grid": {"workers": 1},
    "detect": {
        "sources": SOURCES,
        "tasks": {
            name: SHORT | own
            for name, own in (("voc", {}), ("coco", {"sources": None}), ("coco_instances", {"sources": None, "n_seeds": 1}))
        },
        "pictures": 2,
    },
}


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Repository:
    settings = merge(overlays.merged(["salman-detection"], ROOT / "profiles"), TINY)
    settings["detect"]["tasks"]["coco"]["n_seeds"] = 2
    repository, rng = settings_only(tmp_path_factory.mktemp("detection"), settings), np.random.default_rng(0)
    catalog = loaded(repository.text("data/catalog.yaml"))
    classes = dict(zip(COCO_NUMBERS, catalog["coco2017"]["class_names"], strict=True))
    with Server({}) as server:
        serve_sets(repository, server, {"cifar10": (40, 20)})
        [archive] = server.listed({"imagenet.tar.gz": folder_archive(rng, 6, 3, CLASSES, "gz")})
        repository.edit("data/catalog.yaml", imagenet={"kind": "folder", "files": [archive], "crop": 0.875, "classes": CLASSES})
        for name, files, train in (("voc0712", voc(rng, 3, 4), 6), ("coco2017", coco(rng, 4, 4, classes), 4)):
            changes = {"files": server.listed(files, within=f"{name}/"), "train": train, "test": 4}
            repository.edit("data/catalog.yaml", **{f"{name}__{key}": value for key, value in changes.items()})
        for seed, name in enumerate(SOURCES):
            torch.manual_seed(seed)
            entry = loaded(repository.text("models/catalog.yaml"))[name]
            content = robustness_format(small_resnet.published("small_resnet", CLASSES), [0.4] * 3, [0.2] * 3, extra="model.")
            [file] = server.listed({entry["file"]["name"]: content})
            small = {"architecture": "small_resnet", "classes": CLASSES, "file": file}
            repository.edit("models/catalog.yaml", **{name: entry | small})
        run_all(repository)
    return repository


def test_every_detector_leaves_its_ap_and_no_published_one_stands_beside_small_networks(finished):
    table = pd.read_csv(finished.folder / "reports/tables/salman_detection.csv")
    found = set(zip(table["task"], table["target"], table["detector"], table["measure"], table["n"], strict=True))
    assert found == {
        ("voc", "voc0712", "faster_rcnn", "box_ap", 1), ("coco", "coco2017", "faster_rcnn", "box_ap", 2),
        ("coco_instances", "coco2017", "mask_rcnn", "box_ap", 1), ("coco_instances", "coco2017", "mask_rcnn", "mask_ap", 1),
    }  # fmt: skip
    assert set(table["source"]) == set(SOURCES)
    assert table["mean"].between(0, 100).all()
    assert table["published"].isna().all()


def test_the_page_has_the_figure_the_pictures_and_the_claim(finished):
    page = finished.text("reports/report.html")
    drawn = {path.stem for path in (finished.folder / "reports/figures").glob("salman_*.svg")}
    assert drawn == {"salman_figure4", "salman_detections_voc", "salman_detections_coco", "salman_detections_coco_instances"}
    assert "Gains carry over to object detection and instance segmentation" in page
    assert "Detection and instance segmentation</h2>" in page


def test_the_plan_counts_the_runs_and_the_files(finished, monkeypatch, capsys):
    monkeypatch.chdir(finished.folder)
    monkeypatch.setenv("DVC_ROOT", str(finished.folder))
    plan.main([])
    assert "8 of detect, of which 8 are done" in capsys.readouterr().out
