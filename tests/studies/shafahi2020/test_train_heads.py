"""Heads on frozen features: with and without hidden layers, and their gradients."""

import shutil

import numpy as np
import pandas as pd
import pytest
import torch
from experiments import turn_on
from repository import Repository, current, settle
from torch import nn

from stages import experiment
from stages.lib.attacks import attack as attacks
from stages.lib.datasets import pixels as images
from stages.lib.datasets import sets as datasets
from stages.lib.networks import sources
from stages.lib.networks import units as networks
from stages.lib.settings import params
from stages.lib.store import cells, tables
from stages.studies.shafahi2020.experiments import features, penultimate
from stages.studies.shafahi2020.experiments import train_heads as heads

OUT = tables.RESULTS / "train_heads"


@pytest.fixture(scope="module")
def finished(trained, tmp_path_factory):
    """A folder in which the experiment has run; tests take copies."""
    folder = tmp_path_factory.mktemp("heads")
    shutil.copytree(trained, folder, dirs_exist_ok=True)
    with current(folder) as repository:
        turn_on(repository, "train_heads")
        experiment.main("train_heads")
    return folder


@pytest.fixture
def ready(finished, tmp_path, monkeypatch):
    shutil.copytree(finished, tmp_path, dirs_exist_ok=True)
    settle(tmp_path, monkeypatch)
    return Repository(tmp_path)


def test_every_head_has_its_rows_and_without_hidden_layers_all_kinds_are_one(ready):
    table = pd.read_parquet(OUT / "runs.parquet")
    assert dict(table.dtypes.astype(str)) == tables.EXPERIMENT_RUNS
    assert set(zip(table.method, table.setting, table.seed, strict=True)) == {
        (kind, hidden, seed) for kind, hidden in (("plain", 0.0), ("plain", 2.0), ("regularised", 2.0)) for seed in (0, 1)
    }
    assert set(table.measure) == {"train", "clean", "pgd20", "cw20"}
    assert table.query("measure == 'train'").value.mean() > 15


def test_gradients_are_of_the_first_image_of_each_class(ready):
    found = {name.removeprefix("l2_eps0_5/digits/"): array for name, array in np.load(OUT / "arrays.npz").items()}
    assert set(found) == {f"{name}_{hidden}" for name in ("image", "gradient", "label") for hidden in (0, 2)}
    x, y = datasets.load("digits", "test")
    places = np.sort(np.unique(y, return_index=True)[1][:3])
    assert np.array_equal(found["label_0"], y[places])
    assert np.allclose(found["image_2"], images.prepare(x[places], size=16).permute(0, 2, 3, 1).numpy())
    assert (np.abs(found["gradient_0"]).max((1, 2, 3)) > 0).all()


def test_stored_features_are_those_of_the_source(ready):
    kept = penultimate.stored(features.store("l2_eps0_5", "digits", params.section("grid")))
    x, _ = datasets.load("digits", "train")
    body, _ = networks.split(sources.load("l2_eps0_5"), 0)
    with torch.no_grad():
        assert torch.allclose(kept[:20], body(images.prepare(x[:20], size=16)), atol=1e-5)


def test_features_are_stored_only_where_a_run_needs_them(ready):
    before = {path.name: path.read_bytes() for path in OUT.iterdir()}
    shutil.rmtree(cells.folder("features"))
    experiment.main("train_heads")
    assert not cells.folder("features").exists()
    assert {path.name: path.read_bytes() for path in OUT.iterdir()} == before
    ready.edit("params.yaml", train_heads__n_seeds=3)
    experiment.main("train_heads")
    assert len(list(cells.folder("features").rglob("*.json"))) == 1


@pytest.mark.parametrize(("hidden", "dropout", "batchnorm"), [(0, 0.0, False), (1, 0.0, False), (3, 0.25, True)])
def test_a_head_has_hidden_layers_as_wide_as_the_features(hidden, dropout, batchnorm):
    head = heads.perceptron(6, 4, hidden, dropout, batchnorm)
    layers = [module for module in head.modules() if isinstance(module, nn.Linear)]
    assert [(layer.in_features, layer.out_features) for layer in layers] == [(6, 6)] * hidden + [(6, 4)]
    assert sum(isinstance(m, nn.BatchNorm1d) for m in head.modules()) == (hidden if batchnorm else 0)
    assert sum(isinstance(m, nn.Dropout) for m in head.modules()) == (hidden if dropout else 0)
    assert head(torch.rand(5, 6)).shape == (5, 4)


def test_the_gradient_has_the_direction_of_the_cross_entropy_s_and_does_not_vanish_with_it():
    torch.manual_seed(0)
    network = nn.Sequential(nn.Flatten(), nn.Linear(3 * 16, 5)).double()
    x, y = torch.rand(4, 3, 4, 4, dtype=torch.float64), torch.tensor([0, 1, 2, 3])
    entropy, odds = (attacks.loss_gradient(network, x, y, loss) for loss in (attacks.cross_entropy, heads.log_odds))
    assert torch.allclose(nn.functional.cosine_similarity(entropy.flatten(1), odds.flatten(1)), torch.ones(4, dtype=torch.float64))
    with torch.no_grad():
        network[1].weight.mul_(1e4)
    y = network(x).argmax(1)
    assert attacks.loss_gradient(network, x, y).abs().max() < 1e-100
    assert attacks.loss_gradient(network, x, y, heads.log_odds).abs().max() > 1
