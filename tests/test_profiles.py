"""The profiles `paper` and `own-images`, shrunk to tiny sizes, everything that they fetch from a server here.

Miniature archives of two of the six targets, which are colour and grey, and of a folder in place of ImageNet, or a folder of one's own,
and small networks in the published formats in place of ResNets, run through every stage to the report.
"""

import numpy as np
import pandas as pd
import pytest
import torch
from checkpoints import robustness_format, torchvision_format
from inprocess import run_all, settings_only
from repository import ROOT, Repository, loaded, merge
from served import Server, folder, folder_archive, serve_sets

from stages.lib.networks.families import small_resnet
from stages.lib.settings import overlays

TRAIN, TEST, CLASSES = 120, 40, 4  # images of each target; classes of what stands for ImageNet
TARGETS = ["svhn", "kmnist"]
TINY = {
    "datasets": ["imagenet", *TARGETS],
    "targets": TARGETS,
    "blocks": [1, 3],
    "upscale": {"image_size": 36},
    "draw_subsets": {"n_images": [100, "all"], "n_seeds": {"from_1": 2, "all": 1}},
    "source": {"epochs": 1, "batch_size": 8, "threads": 1},
    "finetune": {"epochs": {"from_1": 1, f"from_{TRAIN}": 2}, "eval_every": {"from_1": 1, f"from_{TRAIN}": 1}, "batch_size": 50},
    "report": {"headline": {"n_images": 100, "blocks": 3}, "utrera2021": {"similar": ["svhn"], "epochs_at": [100]}},
}  # fmt: skip
FORMATS = {
    "torchvision_resnet50": torchvision_format,
    "utrera_l2_eps3": lambda network: robustness_format(network, [0.4, 0.5, 0.6], [0.2, 0.2, 0.3]),
    "utrera_linf_eps4_255": lambda network: robustness_format(network, [0.4] * 3, [0.2] * 3, zipped=False),
    "utrera_linf_eps8_255": lambda network: robustness_format(network, [0.4] * 3, [0.2] * 3, extra="model.", key="state_dict"),
}
OWN = {
    "blocks": [1],
    "upscale": {"image_size": 32},
    "draw_subsets": {"n_images": [9], "n_seeds": 10},
    "finetune": {"epochs": 1, "eval_every": 1, "batch_size": 9, "keep": {"n_seeds": 0}},
    "evaluate_robustness": {"l2": [], "linf": [], "check_images": 0, "max_images": 8},
    "report": {"headline": {"n_images": 9, "blocks": 1}, "utrera2021": {"epochs_at": [9]}},
}
OWN_FORMATS = {
    "torchvision_resnet50": torchvision_format,
    "salman_resnet50_l2_eps3": lambda network: robustness_format(network, [0.4] * 3, [0.2] * 3, extra="model."),
}


def serve_sources(repository: Repository, server: Server, formats: dict) -> None:
    """Put small networks in the place of published ones."""
    catalog = loaded(repository.text("models/catalog.yaml"))
    for seed, (name, make) in enumerate(formats.items()):
        torch.manual_seed(seed)
        [file] = server.listed({catalog[name]["file"]["name"]: make(small_resnet.published("small_resnet", CLASSES))})
        small = {"architecture": "small_resnet", "classes": CLASSES, "file": file}
        repository.edit("models/catalog.yaml", **{name: catalog[name] | small})
    repository.edit("models/catalog.yaml", random_resnet50__architecture="small_resnet")


@pytest.fixture(scope="module")
def paper(tmp_path_factory) -> Repository:
    repository = settings_only(tmp_path_factory.mktemp("paper"), merge(overlays.merged(["paper"], ROOT / "profiles"), TINY))
    rng = np.random.default_rng(0)
    with Server({}) as server:
        serve_sets(repository, server, dict.fromkeys(TARGETS, (TRAIN, TEST)))
        [archive] = server.listed({"imagenet.tar.gz": folder_archive(rng, 6, 3, CLASSES, "gz")})
        repository.edit("data/catalog.yaml", imagenet={"kind": "folder", "files": [archive], "crop": 0.875, "classes": CLASSES})
        serve_sources(repository, server, FORMATS)
        run_all(repository)
    return repository


def test_every_run_of_table_4_is_in_one_csv(paper):
    runs = pd.read_csv(paper.folder / "reports/tables/runs.csv")
    settings = loaded(paper.text("params.yaml"))
    seeds = 2 + 1
    pretrained, targets = len(settings["sources"]) - 1, len(settings["targets"])
    assert runs["cell"].nunique() == pretrained * targets * 2 * seeds + targets * seeds
    assert set(runs["target"]) == set(TARGETS)
    assert set(runs["n_images"]) == {100, TRAIN}
    assert set(runs["blocks"].astype(str)) == {"1", "3", "all"}
    last = runs.groupby("n_images")["epoch"].max()
    assert last.to_dict() == {100: 1, TRAIN: 2}


def test_sources_have_the_normaliser_of_their_files_and_an_accuracy_beside_the_published_one(paper):
    card = loaded(paper.text("models/sources/utrera_l2_eps3/0.json"))
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


def test_own_images_get_an_answer_also_with_a_source_that_is_trained_here_on_other_images(tmp_path):
    """The folder and the networks as a user has them, and beside them one of the embedded letters: each source has its own data."""
    compared = [*OWN_FORMATS, "natural", "random_resnet50"]
    settings = merge(overlays.merged(["own-images"], ROOT / "profiles"), OWN)
    settings |= {"datasets": ["glyphs", "mine"], "models": compared, "sources": compared}
    settings["source"] |= {"dataset": "glyphs", "epochs": 1, "threads": 1}
    repository = settings_only(tmp_path, settings)
    repository.edit("data/catalog.yaml", glyphs__classes=CLASSES, glyphs__train=16, glyphs__test=8)
    for path, content in folder(np.random.default_rng(0), {"": 5}, classes=3).items():
        (tmp_path / "data/mine" / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "data/mine" / path).write_bytes(content)
    with Server({}) as server:
        serve_sources(repository, server, OWN_FORMATS)
        run_all(repository)
    accuracy = {source: loaded(repository.text(f"models/sources/{source}/0.json"))["accuracy"] for source in compared}
    assert [source for source in compared if accuracy[source]] == ["natural"], "measured where a source's own images are at hand"
    assert "With 9 images,\nthe best source for mine is" in repository.text("reports/report.html")
    claims = pd.read_csv(tmp_path / "reports/tables/claims.csv")
    [note] = claims.loc[claims["statement"] == "Robust sources are less accurate on their own data", "note"]
    assert note.startswith("as published with the weights"), "both learnt ImageNet, which is not at hand"
