"""The profile of Section 5 of Utrera et al., shrunk: Caltech101 from a server here, folders of ImageNet, its stylised copy and cue-conflict images
in the real formats, and small networks in those of the published ones.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import photographs
import pytest
import torch
import yaml
from checkpoints import parallel_format, robustness_format, torchvision_format
from inprocess import run_all, settings_only
from PIL import Image
from repository import ROOT, Repository, merge
from served import Server, picture

from stages.lib.datasets.sets import load
from stages.lib.networks import sources
from stages.lib.networks.families import small_resnet
from stages.lib.settings import overlays
from stages.studies.utrera2021.shape.categories import IMAGENET

CLASSES, TRAIN, TEST, SEEDS = 1000, 3, 2, 2
CATEGORIES = ("airplane", "cat", "dog")
FORMATS = {
    "torchvision_resnet50": torchvision_format, "utrera_l2_eps3": lambda network: robustness_format(network, [0.4, 0.5, 0.6], [0.2] * 3),
    "geirhos_sin": parallel_format, "geirhos_sin_in": parallel_format,
}  # fmt: skip
TINY = {
    "upscale": {"image_size": 16},
    "draw_subsets": {"n_seeds": SEEDS},
    "finetune": {"epochs": 2, "eval_every": 1, "batch_size": 4},
    "shape_bias": {"n_seeds": 1, "blocks": [0, 3], "finetuning": {"n_images": 24, "epochs": 1, "batch_size": 8}},
    "texture_attack": {"max_images": 40},
    "grid": {"workers": 1},
}


def pictures(folder: Path, names: Iterator[str]) -> None:
    """A few images, of which each name has one."""
    random = np.random.default_rng(0)
    some = [picture(random, 20, 24) for _ in range(8)]
    for number, name in enumerate(names):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(some[number % len(some)])


def of_classes(*splits: str) -> Iterator[str]:
    return (f"{split}/n{label:08}/{label}.png" for split in splits for label in range(CLASSES))


@pytest.fixture(scope="module")
def repository(tmp_path_factory) -> Repository:
    folder = tmp_path_factory.mktemp("why")
    settings = merge(overlays.merged(["utrera-why-shape"], ROOT / "profiles"), TINY)
    repository = settings_only(folder, settings)
    pictures(folder / "data/imagenet", of_classes("val"))
    pictures(folder / "data/stylised-imagenet", of_classes("train", "val"))
    pairs = ((a, b) for a in CATEGORIES for b in CATEGORIES)
    pictures(folder / "data/cue-conflict", (f"{a}/{a}{n}-{b}{n + 1}.png" for a, b in pairs for n in (1, 2)))
    counts = {
        "imagenet": {"train": None, "test": CLASSES, "splits": {"test": "val"}},
        "stylised_imagenet": {"test": CLASSES},
        "cue_conflict": {"classes": 3, "test": 12},
    }
    random = np.random.default_rng(1)
    with Server({}) as server, pytest.MonkeyPatch.context() as patch:
        patch.setattr(photographs, "jpeg", lambda *_: picture(random, 40, 31, kind="JPEG"))  # images of one colour have no detail to lose
        made = photographs.caltech101(TRAIN, TEST)
        for name in ("caltech101_224", "caltech101_224_low", "caltech101_224_low_pass"):
            changes = {"low_resolution": 4} if name.endswith("_low") else {"low_pass": 4} if name.endswith("_pass") else {}
            photographs.serve(repository, server, name, made, **changes)
        catalog = yaml.safe_load(repository.text("data/catalog.yaml"))
        repository.edit("data/catalog.yaml", **{name: catalog[name] | change for name, change in counts.items()})
        listed = yaml.safe_load(repository.text("models/catalog.yaml"))
        for seed, (name, make) in enumerate(FORMATS.items()):
            torch.manual_seed(seed)
            content = make(small_resnet.published("small_resnet", CLASSES))
            [file] = server.listed({listed[name]["file"]["name"]: content})
            repository.edit("models/catalog.yaml", **{name: listed[name] | {"architecture": "small_resnet", "file": file}})
        run_all(repository)
    return repository


def table(repository: Repository, name: str) -> pd.DataFrame:
    return pd.read_csv(repository.folder / f"reports/tables/{name}.csv")


def test_caltech101_is_there_as_it_is_and_twice_without_detail(repository, monkeypatch):
    monkeypatch.chdir(repository.folder)
    found = table(repository, "utrera_table2")
    assert found["version"].value_counts().to_dict() == dict.fromkeys(["as it is", "low resolution", "low pass"], 2)
    assert set(found["n"]) == {SEEDS}
    runs = table(repository, "runs")
    assert set(runs["n_images"]) == {3 * TRAIN}
    assert runs["cell"].nunique() == 2 * 3 * SEEDS
    for split in ("train", "test"):
        whole, low, passed = (load(f"caltech101_224{version}", split)[0] for version in ("", "_low", "_low_pass"))
        small = [Image.fromarray(x).resize((4, 4), Image.Resampling.BILINEAR).resize((16, 16), Image.Resampling.BILINEAR) for x in whole]
        assert np.array_equal(np.stack(small), low)
        spectrum = np.abs(np.fft.fftshift(np.fft.fft2(passed[0, ..., 0].astype(float))))
        inside = spectrum[5:12, 5:12].copy()  # the 4 x 4 lowest frequencies and, as images are real, their mirror images
        assert np.square(spectrum).sum() - np.square(inside).sum() < 0.01 * np.square(spectrum[spectrum < spectrum.max()]).sum()


def test_cue_conflict_images_have_their_answers_by_sixteen_categories(repository, monkeypatch):
    monkeypatch.chdir(repository.folder)
    x, y = load("cue_conflict", "test")
    assert (x.shape, y.shape) == ((12, 16, 16, 3), (12, 2))
    assert (y[:, 0] != y[:, 1]).all()
    found = table(repository, "utrera_table1a")
    assert (
        found["state"].value_counts().to_dict() == {"as it is": 4, "0 blocks fine-tuned": 4, "3 blocks fine-tuned": 4} or len(found) == 12
    )

    network = sources.load("geirhos_sin")
    with torch.no_grad():
        probabilities = network(torch.from_numpy(np.array(x)).permute(0, 3, 1, 2).float() / 255).softmax(1).numpy()
    means = np.stack([probabilities[:, IMAGENET[name]].mean(1) for name in CATEGORIES], 1)
    row = found[(found["source"] == "geirhos_sin") & (found["state"] == "as it is")].iloc[0]
    assert row["shape_mean"] == pytest.approx(100 * (means.argmax(1) == y[:, 0]).mean())
    assert row["texture_mean"] == pytest.approx(100 * (means.argmax(1) == y[:, 1]).mean())
    assert set(found["published_accuracy"].dropna()) == set(), "small networks are not the paper's"


def test_natural_sources_are_attacked_by_what_they_have_learnt(repository):
    found = table(repository, "utrera_table1b")
    assert found.groupby("learnt")["source"].first().to_dict() == {
        "rich": "torchvision_resnet50",
        "poor": "geirhos_sin",
        "both": "geirhos_sin_in",
    }
    assert sorted(found["eps"].unique()) == [0, 0.09375, 0.1875]


def test_the_page_has_the_section_and_every_claim_a_line(repository):
    page = repository.text("reports/report.html")
    for text in ("Shape and texture", "Table 1a, and cue-conflict images", "Table 1b", "Table 2", "it drops texture"):
        assert text in page
    claims = table(repository, "claims")
    assert claims[claims["place"].str.startswith("Section 5")]["statement"].nunique() >= 5
