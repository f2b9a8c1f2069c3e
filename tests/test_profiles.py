"""The configuration of the paper, shrunk: the profile `paper` with tiny sizes, everything that it fetches from a server here.

Miniature archives of two of the six targets, which are colour and grey, and of a folder in place of ImageNet, and small networks in
the published formats in place of ResNet-50s, run through every stage to the report.
"""

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from checkpoints import robustness_format, torchvision_format
from inprocess import run_all, settings_only
from repository import ROOT, Repository, merge
from served import Server, folder_archive, serve_sets

from stages.lib.networks.families import small_resnet
from stages.lib.settings import overlays

TRAIN, TEST, CLASSES = 200, 100, 4  # images of each target; classes of what stands for ImageNet
TARGETS = ["svhn", "kmnist"]
TINY = {
    "datasets": ["imagenet", *TARGETS],
    "targets": TARGETS,
    "blocks": [1, 3],
    "upscale": {"image_size": 40},
    "draw_subsets": {"n_images": [100, "all"], "n_seeds": {"from_1": 2, "all": 1}},
    "source": {"epochs": 1, "batch_size": 8},
    "finetune": {"epochs": {"from_1": 1, "from_200": 2}, "eval_every": {"from_1": 1, "from_200": 1}, "batch_size": 50},
    "report": {"headline": {"n_images": 100, "blocks": 3}, "utrera2021": {"similar": ["svhn"], "epochs_at": [100]}},
}  # fmt: skip
FORMATS = {
    "torchvision_resnet50": torchvision_format,
    "utrera_l2_eps3": lambda network: robustness_format(network, [0.4, 0.5, 0.6], [0.2, 0.2, 0.3]),
    "utrera_linf_eps4_255": lambda network: robustness_format(network, [0.4] * 3, [0.2] * 3, zipped=False),
    "utrera_linf_eps8_255": lambda network: robustness_format(network, [0.4] * 3, [0.2] * 3, extra="model.", key="state_dict"),
}


@pytest.fixture(scope="module")
def paper(tmp_path_factory) -> Repository:
    repository = settings_only(tmp_path_factory.mktemp("paper"), merge(overlays.merged(["paper"], ROOT / "profiles"), TINY))
    rng = np.random.default_rng(0)
    with Server({}) as server:
        serve_sets(repository, server, dict.fromkeys(TARGETS, (TRAIN, TEST)))
        [archive] = server.listed({"imagenet.tar.gz": folder_archive(rng, 6, 3, CLASSES, "gz")})
        repository.edit("data/catalog.yaml", imagenet={"kind": "folder", "files": [archive], "crop": 0.875, "classes": CLASSES})
        for seed, (name, make) in enumerate(FORMATS.items()):
            torch.manual_seed(seed)
            entry = yaml.safe_load(repository.text("models/catalog.yaml"))[name]
            [file] = server.listed({entry["file"]["name"]: make(small_resnet.published("small_resnet", CLASSES))})
            repository.edit("models/catalog.yaml", **{name: entry | {"architecture": "small_resnet", "classes": CLASSES, "file": file}})
        repository.edit("models/catalog.yaml", random_resnet50__architecture="small_resnet")
        run_all(repository)
    return repository


def test_every_run_of_table_4_is_in_one_csv(paper):
    runs = pd.read_csv(paper.folder / "reports/tables/runs.csv")
    settings = yaml.safe_load(paper.text("params.yaml"))
    seeds = 2 + 1
    pretrained, targets = len(settings["sources"]) - 1, len(settings["targets"])
    assert runs["cell"].nunique() == pretrained * targets * 2 * seeds + targets * seeds
    assert set(runs["target"]) == set(TARGETS)
    assert set(runs["n_images"]) == {100, 200}
    assert set(runs["blocks"].astype(str)) == {"1", "3", "all"}
    last = runs.groupby("n_images")["epoch"].max()
    assert last.to_dict() == {100: 1, 200: 2}


def test_sources_have_the_normaliser_of_their_files_and_an_accuracy_beside_the_published_one(paper):
    card = yaml.safe_load(paper.text("models/sources/utrera_l2_eps3/0.json"))
    assert card["mean"] == pytest.approx([0.4, 0.5, 0.6])
    assert card["published_accuracy"] == 57.9
    assert set(card["accuracy"]) == {"test"}


def test_table_7_has_the_published_value_beside_each_of_its_cells(paper):
    table = pd.read_csv(paper.folder / "reports/tables/table7.csv")
    row = table[(table["target"] == "svhn") & (table["n_images"] == 100) & (table["source"] == "utrera_l2_eps3")].iloc[0]
    assert row["published"] == 37.9
    assert row["difference"] == pytest.approx(row["mean"] - 37.9)


def test_the_report_shows_the_figures_of_the_paper(paper):
    drawn = {path.stem for path in (paper.folder / "reports/figures").glob("figure*.svg")}
    others = {"torchvision_resnet50", "utrera_linf_eps4_255", "utrera_linf_eps8_255"}
    assert drawn == {"figure2", "figure3_10", "figure4", "figure5"} | {f"figure11_{name}" for name in others}
    page = paper.text("reports/report.html")
    assert "Table 7" in page
    assert len(page) > 100_000
