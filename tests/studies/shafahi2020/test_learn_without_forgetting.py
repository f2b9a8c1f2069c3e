"""Learning without forgetting: the penalty holds features in place, batch norm stays as far as it is to, and each way is the loop by hand."""

from itertools import islice

import numpy as np
import pandas as pd
import pytest
import torch
from experiments import turn_on
from torch import nn

from stages import experiment
from stages.lib.datasets import pixels
from stages.lib.networks import units as networks
from stages.lib.settings import params
from stages.lib.store import tables
from stages.lib.training import descent
from stages.lib.training.sgd import endless_batches
from stages.studies.shafahi2020.experiments import learn_without_forgetting as forgetting
from stages.studies.shafahi2020.experiments import train_heads

OUT = tables.RESULTS / "learn_without_forgetting"


@pytest.fixture
def ready(source_ready):
    turn_on(source_ready, "learn_without_forgetting")
    return source_ready


def test_every_lambda_has_its_rows_beside_the_frozen_source(ready):
    experiment.main("learn_without_forgetting")
    table = pd.read_parquet(OUT / "runs.parquet")
    assert dict(table.dtypes.astype(str)) == tables.EXPERIMENT_RUNS
    assert set(zip(table.method, table.setting, strict=True)) == {("written", 0.0), ("written", 1.0), ("frozen", 0.0), ("distance", 0.0)}
    assert set(table[table.method == "written"].measure) == {"train", "clean", "pgd20", "cw20"}
    arrays = {name.removeprefix("l2_eps0_5/digits/"): array for name, array in np.load(OUT / "arrays.npz").items()}
    assert {name: values.shape for name, values in arrays.items()} == {"train": (20,), "test": (20,)}
    assert (arrays["train"] > 0).mean() > 0.9
    means = table[table.method == "distance"].set_index("measure").value
    assert means["test distance"] == pytest.approx(arrays["test"].mean())


def test_on_its_own_data_the_source_as_it_is_stands_beside(ready):
    ready.edit("params.yaml", learn_without_forgetting__histogram_images=0, learn_without_forgetting__targets=["glyphs"])
    experiment.main("learn_without_forgetting")
    assert set(pd.read_parquet(OUT / "runs.parquet").method) == {"written", "frozen", "source"}
    assert not np.load(OUT / "arrays.npz").files


WRITTEN = {"distance": "l2", "batchnorm": "fixed"}
RELEASED = {"distance": "l1", "batchnorm": "affine"}
STEPS = {"batch_size": 16, "lr": 0.005, "drops": [], "momentum": 0.9, "weight_decay": 0.0}


def problem(dtype: torch.dtype = torch.float32) -> tuple[nn.Sequential, descent.Images, torch.Tensor]:
    """A network, images and its features of them."""
    torch.manual_seed(0)
    network = networks.build("small_resnet", 4, [0.5] * 3, [0.25] * 3).to(dtype).eval()
    x, y = np.random.default_rng(0).integers(0, 256, (32, 16, 16, 3), np.uint8), np.arange(32) % 4
    data = descent.Images(x, y, torch.device("cpu"), 16, False, 0)
    with torch.no_grad():
        kept = networks.split(network, 0)[0](data[torch.arange(32)][0].to(dtype))
    return network, data, kept


def trained(lambda_d: float, way: dict = WRITTEN) -> tuple[dict, dict, float]:
    """State before and after, and the mean distance of the features from those before."""
    network, data, kept = problem()
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    forgetting.train_without_forgetting(network, data, kept, lambda_d, way | {"training": STEPS | {"steps": 40}}, seed=0, first=0)
    return before, network.state_dict(), (descent.features_of(network, data.x.x.numpy(), 16) - kept).norm(dim=1).mean().item()


@pytest.mark.parametrize(("way", "lambda_d"), [(WRITTEN, 0.3), (RELEASED, 0.05)], ids=["written", "released"])
def test_the_penalty_holds_the_features_in_place(way, lambda_d):
    far, near = (trained(value, way)[2] for value in (0.0, lambda_d))
    assert far > 2 * near > 0


@pytest.mark.parametrize("way", [WRITTEN, RELEASED], ids=["written", "released"])
def test_of_batch_norm_statistics_stay_and_scale_and_shift_learn_where_they_are_to(way):
    before, after, _ = trained(0.1, way)
    norms = {name for name in before if ".bn" in name or "downsample.1" in name}
    stay = {name for name in norms if way is WRITTEN or name.rpartition(".")[2] not in ("weight", "bias")}
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed == {name for name in before if name not in stay and not name.startswith("normalise")}
    assert any(name.endswith("running_mean") for name in stay)


@pytest.mark.parametrize("way", [WRITTEN, RELEASED], ids=["written", "released"])
def test_each_way_is_the_loop_by_hand(monkeypatch, way):
    """In float64: the cross-entropy, the distance, and the decay of kernels and matrices alone, as the released code adds them up."""
    monkeypatch.setattr(pixels, "prepare", lambda *arguments, real=pixels.prepare: real(*arguments).double())
    network, data, kept = problem(torch.float64)
    how = way | {"training": STEPS | {"steps": 4, "weight_decay": 0.1}}
    forgetting.train_without_forgetting(network, data, kept, 0.3, how, seed=5, first=0)

    plain, _, _ = problem(torch.float64)
    learning = {
        name: weight for name, weight in plain.named_parameters()
        if way is RELEASED or not (".bn" in name or "downsample.1" in name)
    }  # fmt: skip
    velocities = {name: torch.zeros_like(weight) for name, weight in learning.items()}
    for rows in islice(endless_batches(32, 16, seed=5), 4):
        x, y = data[rows]
        z = networks.split(plain, 0)[0](x)
        away = z - kept[rows]
        distance = away.abs().sum(1) if way is RELEASED else (away**2).sum(1).add(1e-300).sqrt()
        decay = sum((weight**2).sum() for weight in learning.values() if weight.ndim > 1) / 2
        loss = nn.functional.cross_entropy(plain.head(z), y) + 0.3 * distance.mean() + 0.1 * decay
        gradients = torch.autograd.grad(loss, list(learning.values()))
        with torch.no_grad():
            for (name, weight), gradient in zip(learning.items(), gradients, strict=True):
                velocities[name] = 0.9 * velocities[name] + gradient
                weight.sub_(0.005 * velocities[name])
    for mine, theirs in zip(network.parameters(), plain.parameters(), strict=True):
        assert torch.allclose(mine, theirs, atol=1e-10)


def test_of_the_head_the_matrix_alone_decays():
    head, kept, y = nn.Linear(3, 2), torch.zeros(8, 3), torch.tensor([0, 1] * 4)  # of such features the loss teaches the bias alone
    head.bias.data.zero_()
    weight = head.weight.detach().clone()
    training = {"steps": 1, "batch_size": 8, "lr": 0.1, "drops": [], "momentum": 0.9, "weight_decay": 0.5}
    train_heads.train_on_features(head, kept, y, training, 0, decays=forgetting.is_kernel)
    assert torch.allclose(head.weight, weight * (1 - 0.1 * 0.5))
    assert torch.allclose(head.bias, torch.zeros(2), atol=1e-7)


def test_a_way_is_not_called_as_what_it_is_compared_with(ready):
    ways = {"frozen": WRITTEN | {"warm_start": 0.5, "training": {"steps": 2, "batch_size": 16, "lr": 0.1}}}
    ready.edit("params.yaml", learn_without_forgetting__ways=ways)
    with pytest.raises(
        params.SettingsError, match=r"learn_without_forgetting\.ways.*'frozen'; allowed: any name but frozen, source, distance"
    ):
        experiment.main("learn_without_forgetting")
