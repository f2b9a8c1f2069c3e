"""Learning without forgetting as a stage: the penalty holds features in place, batch norm stays, and the frozen source is a limit."""

import numpy as np
import pandas as pd
import pytest
import torch

from stages import learn_without_forgetting, source
from stages.lib.networks import units as networks
from stages.lib.store import tables
from stages.lib.training import descent
from stages.studies.shafahi2020 import learn_without_forgetting as forgetting

OUT = tables.REMEMBERING / "l2_eps0_5"
TINY = {"steps": 12, "batch_size": 16, "lr": 0.02, "drops": [0.5]}


@pytest.fixture
def ready(images_ready):
    images_ready.edit("params.yaml", learn_without_forgetting__lambda_d=[0, 1.0], learn_without_forgetting__n_seeds=1,
                      learn_without_forgetting__training=TINY, learn_without_forgetting__histogram_images=20, robust_transfer__max_images=16,
                      robust_transfer__attacks__pgd20__steps=2, robust_transfer__attacks__cw20__steps=2)  # fmt: skip
    source.main("l2_eps0_5")
    return images_ready


def test_every_lambda_has_its_rows_beside_the_frozen_source(ready):
    learn_without_forgetting.main("l2_eps0_5", "digits")
    table = pd.read_parquet(OUT / "digits" / "runs.parquet")
    assert dict(table.dtypes.astype(str)) == tables.TRANSFERS
    assert set(zip(table.method, table.setting, strict=True)) == {("lwf", 0.0), ("lwf", 1.0), ("frozen", 0.0), ("distance", 0.0)}
    assert set(table[table.method == "lwf"].measure) == {"train", "clean", "pgd20", "cw20"}
    found = np.load(OUT / "digits" / "distances.npz")
    assert {name: values.shape for name, values in found.items()} == {"train": (20,), "test": (20,)}
    assert (found["train"] > 0).mean() > 0.9
    means = table[table.method == "distance"].set_index("measure").value
    assert means["test distance"] == pytest.approx(found["test"].mean())


def test_on_its_own_data_the_source_as_it_is_stands_beside(ready):
    ready.edit("params.yaml", learn_without_forgetting__histogram_images=0)
    learn_without_forgetting.main("l2_eps0_5", "glyphs")
    table = pd.read_parquet(OUT / "glyphs" / "runs.parquet")
    assert set(table.method) == {"lwf", "frozen", "source"}
    assert not np.load(OUT / "glyphs" / "distances.npz").files


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
