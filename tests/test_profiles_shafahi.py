"""The configurations of Shafahi et al., shrunk: their profiles with tiny sizes and narrow networks, CIFAR and ImageNet from a server here."""

from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest
import torch
from checkpoints import torchvision_format
from inprocess import run_all, settings_only
from repository import ROOT, Repository, loaded, merge
from served import Server, folder_archive, serve_sets

from stages.lib.networks.families import small_resnet
from stages.lib.settings import overlays

CLASSES = 4  # of what stands for ImageNet
STEPS, EPOCH = {"steps": 3, "batch_size": 32}, {"epochs": 1, "batch_size": 32}
MEASURED = {"max_images": 16, "attacks": {"pgd20": {"steps": 2}}}
TINY = {
    "source": {"epochs": 1, "batch_size": 50, "threads": 1},
    "draw_subsets": {"n_images": [100], "n_seeds": 2},
    "finetune": {"epochs": 2, "eval_every": 1, "batch_size": 50, "keep": {"n_images": [100]}},
    "evaluate_robustness": {
        "max_images": 8,
        "check_images": 2,
        "attacks": {"apgd_ce_t_pgd": {"steps": 1, "targets": 1}, **{name: {"steps": 1} for name in ("pgd20", "cw20")}},
    },
    "retrain": {"training": STEPS, "measured": MEASURED},
    "train_heads": {"gradients": 3, "measured": MEASURED},
    "harden": {"attack": {"steps": 2}, "from_scratch": EPOCH, "adversarial_finetuning": EPOCH, "natural_head": EPOCH, "measured": MEASURED},
    "learn_without_forgetting": {"ways": {name: {"training": STEPS} for name in ("written", "released")}, "measured": MEASURED},
    "report": {"headline": {"n_images": 100}, "utrera2021": {"epochs_at": [100]}},
}


def run(folder, profile: str, changes: dict, change_catalogs: Callable[[Repository, Server], None]) -> Repository:
    """The profile, shrunk, from the download to the report."""
    settings = overlays.merged([profile], ROOT / "profiles")
    settings = merge(settings, {key: value for key, value in TINY.items() if key in settings})  # without experiments that are off
    repository = settings_only(folder, merge(settings, changes))
    with Server({}) as server:
        serve_sets(repository, server, {"cifar100": (300, 100), "cifar10": (120, 40)})
        change_catalogs(repository, server)
        run_all(repository)
    return repository


@pytest.fixture(scope="module")
def cifar(tmp_path_factory) -> Repository:
    def narrow(repository: Repository, server: Server) -> None:
        for name, entry in loaded(repository.text("models/catalog.yaml")).items():
            if name.startswith("wrn_cifar100"):
                changes = {"architecture": "madry_wide_resnet32_1", "published_accuracy": None}
                changes |= {"threat": {"perturbation": {"steps": 1}}} if entry["threat"] else {}
                repository.edit("models/catalog.yaml", **{name: merge(entry, changes)})

    robust = ["wrn_cifar100_linf_eps8_255", "wrn_cifar100_linf_eps8_255_half"]  # fewer sources and targets: each pair is a process
    changes = {
        "models": ["wrn_cifar100_natural", *robust], "upscale": {"image_size": 16}, "retrain": {"k": [1, 2, 17]},
        "train_heads": {"training": STEPS, "sources": robust, "targets": ["cifar10", "cifar100_same"]},
        "learn_without_forgetting": {"targets": ["cifar10", "cifar100_other"], "lambda_d": [1e-5, 0.01]},
    }  # fmt: skip
    return run(tmp_path_factory.mktemp("cifar"), "shafahi-cifar100", changes, narrow)


@pytest.fixture(scope="module")
def imagenet(tmp_path_factory) -> Repository:
    def small(repository: Repository, server: Server) -> None:
        [archive] = server.listed({"imagenet.tar.gz": folder_archive(np.random.default_rng(0), 6, 3, CLASSES, "gz")})
        repository.edit("data/catalog.yaml", imagenet={"kind": "folder", "files": [archive], "crop": 0.875, "classes": CLASSES})
        torch.manual_seed(0)
        entry = loaded(repository.text("models/catalog.yaml"))["torchvision_resnet50"]
        [file] = server.listed({entry["file"]["name"]: torchvision_format(small_resnet.published("small_resnet", CLASSES))})
        entry |= {"architecture": "small_resnet", "classes": CLASSES, "file": file}
        repository.edit("models/catalog.yaml", torchvision_resnet50=entry, free4_resnet50_linf_eps5_255__architecture="small_resnet")

    changes = {"upscale": {"image_size": 40}, "source": {"batch_size": 8}, "harden": {"n_per_class": [1, 2], "measured": {"attacks": {"cw20": {"steps": 2}}}},
               "train_heads": {"training": EPOCH, "targets": ["cifar10"], "hidden": [0, 1], "measured": {"attacks": {"cw20": {"steps": 2}}}}}  # fmt: skip
    return run(tmp_path_factory.mktemp("imagenet"), "shafahi-imagenet", changes, small)


def published(repository: Repository) -> dict[str, int]:
    """How many rows of each group of tables have a published accuracy beside them."""
    table = pd.read_csv(repository.folder / "reports/tables/shafahi.csv")
    return table.groupby("tables")["published"].count().to_dict()


def drawn(repository: Repository) -> set[str]:
    return {path.stem.removeprefix("shafahi_") for path in (repository.folder / "reports/figures").glob("shafahi_*.svg")}


def test_of_tables_1_to_6_no_published_accuracy_stands_beside_narrow_networks(cifar):
    """Beside which of the profile's own they stand, tests/studies/shafahi2020/test_published.py holds."""
    assert published(cifar) == {"1": 0, "2 and 3": 0, "4 to 7": 0}
    assert drawn(cifar) == {
        "figure1", "figure5_cifar10", "figure5_cifar100_same", "figure7", "learn_without_forgetting_cifar10", "learn_without_forgetting_cifar100_other",
    }  # fmt: skip
    assert "published: clean" not in cifar.text("reports/report.html")
    card = loaded(cifar.text("models/sources/wrn_cifar100_natural/0.json"))
    assert (card["mean"], card["std"]) == ([0.0] * 3, [1.0] * 3), "each image is standardised by its own pixels"


def test_of_table_3_no_published_accuracy_stands_beside_small_networks(imagenet):
    assert published(imagenet) == {"2 and 3": 0}
    assert drawn(imagenet) == {"figure3", "figure4_cifar10", "figure5_cifar10"}
    card = loaded(imagenet.text("models/sources/free4_resnet50_linf_eps5_255/0.json"))
    assert card["threat"]["perturbation"].startswith("free")
