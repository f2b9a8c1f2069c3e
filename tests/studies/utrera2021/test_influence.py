"""Influence of training images on a fine-tuned model: every run leaves its shares; they are those of autograd; what cannot be run is one line."""

import re
import shutil

import numpy as np
import pandas as pd
import pytest
import torch
from repository import Repository, current

from stages import experiment
from stages.check import problems
from stages.lib.datasets import draws, pixels
from stages.lib.datasets.sets import card_of, load
from stages.lib.networks import sources, units
from stages.lib.settings import params
from stages.lib.store import files, tables
from stages.studies import registry
from stages.studies.utrera2021.influence import agreement, influence, models

OUT = tables.RESULTS / "influence"
FINETUNE = {
    "epochs": 3, "batch_size": 16, "lr": 0.05, "momentum": 0.9, "weight_decay": 0.0005, "head_init": "normal",
    "frozen_batchnorm": "source", "normalisation": "source", "augmentation": "none", "augment_grey": False,
}  # fmt: skip
SECTION = {
    "sources": ["natural", "l2_eps0_5"], "targets": ["digits"], "blocks": 1, "n_images": 40, "n_seeds": 2, "first_seed": 7, "seed_step": 10,
    "method": "choice", "finetune": FINETUNE, "cuts": [0.05, 1e-10], "damping": [0.01], "ranks": 20, "memory_gib": 0.5,
}  # fmt: skip
WAYS = ["cut_0.05", "cut_1e-10", "damped_0.01"]
CONTROLS = ["features", "labels"]


@pytest.fixture(scope="module")
def finished(trained, tmp_path_factory):
    """A folder in which the experiment has run; it is the current one."""
    folder = tmp_path_factory.mktemp("influence")
    shutil.copytree(trained, folder, dirs_exist_ok=True)
    with current(folder) as repository:
        repository.edit("params.yaml", experiments=["influence"], influence=SECTION, grid__workers=1)
        experiment.main("influence")
        yield repository


def first_run():
    return registry.experiment_of("influence").runs(registry.section("influence"), sources.card_of)[0]


def test_every_run_and_measure_has_a_row(finished):
    table = pd.read_parquet(OUT / "runs.parquet")
    assert dict(table.dtypes.astype(str)) == tables.EXPERIMENT_RUNS
    of_ways = {f"{way}/{name}" for way in (*WAYS, *CONTROLS) for name in ("first", "three_of_five")} | {f"{way}/own_class" for way in WAYS}
    assert set(table["measure"]) == {"test", "train", "kept/cut_0.05", "kept/cut_1e-10"} | of_ways
    assert set(zip(table["source"], table["seed"], strict=True)) == {(source, seed) for source in SECTION["sources"] for seed in (7, 17)}
    percent = table[~table["measure"].str.startswith("kept/")]
    assert percent["value"].between(0, 100).all()
    images = pd.read_parquet(OUT / "images.parquet")
    assert set(images["measure"]) == {"test"} | {f"{way}/{name}" for way in ("cut_0.05", "features") for name in ("first", "three_of_five")}
    means = 100 * images.groupby(["source", "seed", "measure"])["correct"].mean()
    values = table.set_index(["source", "seed", "measure"])["value"]
    assert np.allclose(means, values[means.index])
    assert files.read_json(OUT / "settings.json")["cuts"] == [0.05, 1e-10]


def test_the_images_that_help_most_are_those_of_autograd_and_the_pseudo_inverse_of_the_whole_hessian(finished):
    run, size = first_run(), card_of("digits").image_size
    (x, y), (test_x, test_y) = load("digits", "train"), load("digits", "test")
    rows = draws.choice(y, 10, 40, 7)
    source = sources.pretrained_of(sources.card_of("natural"))
    network = models.fine_tuned(source, x, y, rows, card_of("digits"), run.how, run.seed)
    body, _ = units.split(network, 0)
    theta = torch.cat([network.head.weight, network.head.bias[:, None]], 1).detach().double()

    def seen(images: np.ndarray) -> torch.Tensor:
        with torch.no_grad():
            z = body(pixels.prepare(images, torch.device("cpu"), size)).double()
        return torch.cat([z, torch.ones(len(z), 1)], 1)

    def loss(t: torch.Tensor, z: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.cross_entropy(z @ t.T, labels, reduction="none")

    train_z, test_z, train_y, few_y = seen(x[rows]), seen(test_x[:50]), torch.from_numpy(y[rows]), torch.from_numpy(test_y[:50])
    hessian = torch.autograd.functional.hessian(lambda t: loss(t, train_z, train_y).sum(), theta).reshape(theta.numel(), -1)
    gradients = [
        torch.autograd.functional.jacobian(lambda t, z=z, labels=labels: loss(t, z, labels), theta).flatten(1)
        for z, labels in ((train_z, train_y), (test_z, few_y))
    ]
    scores = gradients[1] @ torch.linalg.pinv(hessian, rtol=0.05, hermitian=True) @ gradients[0].T
    found = influence.Found(
        models.seen(network, x, y, size, rows), models.seen(network, test_x[:50], test_y[:50], size), run.how | {"memory": 1 << 28}
    )
    assert torch.equal(found.top["cut_0.05"][:, 0], scores.argmax(1))
    picture = np.load(OUT / "arrays.npz")
    chosen = picture["natural/digits/7/picture/test"]
    assert np.array_equal(picture["natural/digits/7/picture/test_label"], np.arange(10))
    [place] = [i for i in range(len(test_x)) if np.array_equal(test_x[i], chosen[3])]
    assert test_y[place] == 3
    low = influence.Found(found.train, found.test, run.how | {"cuts": [0.05], "damping": [], "memory": 1 << 20})
    assert not low.spectrum.complete
    assert torch.equal(low.top["cut_0.05"][:, :5], found.top["cut_0.05"][:, :5]), "few eigenvectors give the same"


def test_shares_are_counted_by_hand():
    scores = torch.tensor([[5.0, 4, 3, 2, 1, 0], [0, 1, 2, 3, 4, 5], [1, 5, 0, 4, 2, 3]]).double()
    train_y, test_y = torch.tensor([0, 0, 0, 1, 1, 1]), torch.tensor([0, 1, 0])
    top, same, own = agreement.ranked(scores, train_y, test_y, 6)
    assert top[2].tolist() == [1, 3, 5, 4, 0, 2]
    assert same[2].tolist() == [True, False, False, False, True, True]
    assert own.tolist() == [True, True, False]
    assert {name: of.tolist() for name, of in agreement.measures(same).items()} == {
        "first": [True, True, True], "three_of_five": [True, True, False],
    }  # fmt: skip


def test_the_matrix_has_its_labels_in_order_and_its_grey_in_root_mean_squares(finished):
    arrays = np.load(OUT / "arrays.npz")
    grey, test, train = (arrays[f"natural/digits/7/matrix/{name}"] for name in ("grey", "test", "train"))
    assert grey.shape == (len(test), len(train)) == (400, 40)
    assert (np.diff(test) >= 0).all()
    assert (np.diff(train) >= 0).all()
    assert {0, 255} <= set(grey.flatten()), "influences beyond the limit"
    assert "natural/digits/17/matrix/grey" not in arrays, "of the first subset alone"
    assert arrays["natural/digits/17/ranks/cut_0.05"].shape == (20,)


def test_a_finished_run_is_not_computed_again(finished):
    before = {path: path.stat().st_mtime_ns for path in (finished.folder / ".cells/influence").rglob("*.json")}
    experiment.main("influence")
    assert len(before) == 4
    assert before == {path: path.stat().st_mtime_ns for path in (finished.folder / ".cells/influence").rglob("*.json")}


WRONG = {
    "sources": ({"sources": ["naturel"]}, r"influence\.sources: 'naturel' is not in params\.yaml: models"),
    "random": ({"sources": ["random"]}, r"influence\.sources: random is random and has learnt nothing; allowed: a source that is trained or fetched"),
    "targets": ({"targets": ["cifar10"]}, r"influence\.targets: 'cifar10' is not in params\.yaml: datasets"),
    "blocks": ({"blocks": 10}, r"influence\.blocks: 10 is above the 9 blocks of natural \(small_resnet\); allowed: 0 to 9"),
    "images": ({"n_images": 1001}, r"influence\.n_images: 1001 cannot be drawn from digits; allowed: 10 \(its classes\) to 1000 \(its training images\)"),
    "normalisation": ({"finetune": FINETUNE | {"normalisation": "published"}}, r"data/catalog\.yaml: digits\.normalisation is missing; allowed: a mean and std, as influence"),
    "memory": ({"n_images": 400, "memory_gib": 0.005}, r"influence\.memory_gib is 0\.005, and all eigenvectors of the 585 rows that 400 images of digits give with a small_resnet take 0\.0; allowed: from 0\.1 on, fewer n_images, or cuts from 0\.001 on and no damping"),
}  # fmt: skip


@pytest.mark.parametrize(("changes", "line"), WRONG.values(), ids=WRONG)
def test_what_cannot_be_run_is_said_before_anything_starts(finished, changes, line):
    settings = registry.load_params()
    section = registry.EXPERIMENTS["influence"].settings(**(SECTION | changes))
    found = [found for found in problems(settings.model_copy(update={"influence": section})) if "influence" in found]
    assert len(found) == (len(section.sources) if "blocks" in changes else 1)
    assert re.search(line, found[0])


def test_few_eigenvectors_need_no_room_for_all(finished):
    section = registry.EXPERIMENTS["influence"].settings(
        **(SECTION | {"n_images": 400, "memory_gib": 0.005, "cuts": [0.05], "damping": []})
    )
    assert not [line for line in problems(registry.load_params().model_copy(update={"influence": section})) if "influence" in line]


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"cuts": [1.5]}, r"params\.yaml: influence\.cuts.* 1\.5.*less than 1"),
        ({"cuts": [-0.1]}, r"params\.yaml: influence\.cuts.* -0\.1.*greater than or equal to 0"),
        ({"damping": [0]}, r"params\.yaml: influence\.damping.* 0.*greater than 0"),
        ({"ranks": 60}, r"params\.yaml: influence.*`ranks`, now 60, of at most the 40 of `n_images`"),
        ({"first_seed": 2**32 - 5}, r"params\.yaml: influence.*whose last seed, now 4294967301, is at most 4294967295"),
    ],
)
def test_a_value_out_of_its_range_is_one_line(finished, tmp_path, changes, line):
    path = tmp_path / "params.yaml"
    shutil.copy(finished.folder / "params.yaml", path)
    Repository(tmp_path).edit("params.yaml", influence=SECTION | changes)
    with pytest.raises(params.SettingsError) as error:
        registry.load_params(path)
    assert re.search(line, str(error.value))
    assert "\n" not in str(error.value)
