"""Retraining: the source as it is, and with its last pieces drawn anew."""

import shutil

import pandas as pd
import pytest
from experiments import turn_on
from repository import current

from stages import experiment
from stages.lib.datasets.sets import load
from stages.lib.networks import inference, sources
from stages.lib.store import tables

OUT = tables.RESULTS / "retrain" / "runs.parquet"


@pytest.fixture(scope="module")
def finished(trained, tmp_path_factory):
    """A folder in which the experiment has run."""
    folder = tmp_path_factory.mktemp("retrain")
    shutil.copytree(trained, folder, dirs_exist_ok=True)
    with current(folder) as repository:
        turn_on(repository, "retrain")
        experiment.main("retrain")
        yield folder


def test_every_run_and_measure_has_a_row(finished):
    table = pd.read_parquet(OUT)
    assert dict(table.dtypes.astype(str)) == tables.EXPERIMENT_RUNS
    assert set(zip(table.method, table.setting, table.seed, strict=True)) == {
        ("source", 0.0, 0), ("retrained", 1.0, 0), ("retrained", 1.0, 1), ("retrained", 10.0, 0), ("retrained", 10.0, 1),
    }  # fmt: skip
    assert set(table[table.setting > 0].measure) == {"images", "train", "clean", "pgd20", "cw20"}
    assert (table[table.measure == "images"].value == 6 * 16).all()
    assert table[table.measure != "images"].value.between(0, 100).all()


def test_the_source_as_it_is_has_its_own_accuracy(finished):
    row = pd.read_parquet(OUT).query("method == 'source' and measure == 'clean'").value.iloc[0]
    network = inference.CutNetwork(None, sources.load("l2_eps0_5"), inference.View(16))
    assert row == inference.accuracy(network, *load("glyphs", "test"))
