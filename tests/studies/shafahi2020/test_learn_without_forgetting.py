"""Learning without forgetting: the penalty holds features in place, batch norm stays, and the frozen source is a limit."""

import numpy as np
import pandas as pd
import pytest
import torch
from experiments import turn_on

from stages import experiment
from stages.lib.networks import units as networks
from stages.lib.store import tables
from stages.lib.training import descent
from stages.studies.shafahi2020.experiments import learn_without_forgetting as forgetting

OUT = tables.RESULTS / "learn_without_forgetting"


@pytest.fixture
def ready(source_ready):
    turn_on(source_ready, "learn_without_forgetting")
    return source_ready


def test_every_lambda_has_its_rows_beside_the_frozen_source(ready):
    experiment.main("learn_without_forgetting")
    table = pd.read_parquet(OUT / "runs.parquet")
    assert dict(table.dtypes.astype(str)) == tables.EXPERIMENT_RUNS
    swept = "learn_without_forgetting"
    assert set(zip(table.method, table.setting, strict=True)) == {(swept, 0.0), (swept, 1.0), ("frozen", 0.0), ("distance", 0.0)}
    assert set(table[table.method == swept].measure) == {"train", "clean", "pgd20", "cw20"}
    arrays = {name.removeprefix("l2_eps0_5/digits/"): array for name, array in np.load(OUT / "arrays.npz").items()}
    assert {name: values.shape for name, values in arrays.items()} == {"train": (20,), "test": (20,)}
    assert (arrays["train"] > 0).mean() > 0.9
    means = table[table.method == "distance"].set_index("measure").value
    assert means["test distance"] == pytest.approx(arrays["test"].mean())


def test_on_its_own_data_the_source_as_it_is_stands_beside(ready):
    ready.edit("params.yaml", learn_without_forgetting__histogram_images=0, learn_without_forgetting__targets=["glyphs"])
    experiment.main("learn_without_forgetting")
    assert set(pd.read_parquet(OUT / "runs.parquet").method) == {"learn_without_forgetting", "frozen", "source"}
    assert not np.load(OUT / "arrays.npz").files


def trained(lambda_d: float) -> tuple[dict, dict, float]:
    """State before and after, and the mean distance of the features from those before."""
    torch.manual_seed(0)
    network = networks.build("small_resnet", 4, [0.5] * 3, [0.25] * 3).eval()
    x, y = np.random.default_rng(0).integers(0, 256, (32, 16, 16, 3), np.uint8), np.arange(32) % 4
    data = descent.Images(x, y, torch.device("cpu"), 16, False, 0)
    kept = descent.features_of(network, x, 16)
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    how = {"steps": 40, "batch_size": 16, "lr": 0.005, "drops": [], "momentum": 0.9, "weight_decay": 0.0}
    forgetting.train_without_forgetting(network, data, kept, lambda_d, how, seed=0, first=0)
    return before, network.state_dict(), (descent.features_of(network, x, 16) - kept).norm(dim=1).mean().item()


def test_the_penalty_holds_the_features_in_place():
    far, near = (trained(lambda_d)[2] for lambda_d in (0.0, 0.3))
    assert far > 2 * near > 0


def test_batch_norm_stays_as_the_source_has_it_and_all_else_learns():
    before, after, _ = trained(0.1)
    norms = {name for name in before if ".bn" in name or "downsample.1" in name}
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed == {name for name in before if name not in norms and not name.startswith("normalise")}
    assert any(name.endswith("running_mean") for name in norms)
