"""Retraining as a stage: the source as it is, and with its last pieces drawn anew."""

import pandas as pd
import pytest

from stages import retrain, source
from stages.lib.datasets.sets import load
from stages.lib.errors import RunError
from stages.lib.networks import inference, sources
from stages.lib.store import cells, tables

OUT = tables.RETRAINED / "l2_eps0_5" / "runs.parquet"
TINY = {"steps": 6, "batch_size": 16, "lr": 0.05}


@pytest.fixture
def ready(images_ready):
    images_ready.edit("params.yaml", retrain__sources=["l2_eps0_5"], retrain__k=[1, 10], retrain__n_seeds=2, retrain__training=TINY,
                      robust_transfer__max_images=16, robust_transfer__attacks__pgd20__steps=2, robust_transfer__attacks__cw20__steps=2)  # fmt: skip
    source.main("l2_eps0_5")
    retrain.main("l2_eps0_5")
    return images_ready


def test_every_run_and_measure_has_a_row(ready):
    table = pd.read_parquet(OUT)
    assert dict(table.dtypes.astype(str)) == tables.TRANSFERS
    assert set(zip(table.method, table.setting, table.seed, strict=True)) == {
        ("source", 0.0, 0), ("retrained", 1.0, 0), ("retrained", 1.0, 1), ("retrained", 10.0, 0), ("retrained", 10.0, 1),
    }  # fmt: skip
    assert set(table[table.setting > 0].measure) == {"images", "train", "clean", "pgd20", "cw20"}
    assert (table[table.measure == "images"].value == 6 * 16).all()
    assert table[table.measure != "images"].value.between(0, 100).all()


def test_the_source_as_it_is_has_its_own_accuracy(ready):
    row = pd.read_parquet(OUT).query("method == 'source' and measure == 'clean'").value.iloc[0]
    x, y = (array[:16] for array in load("glyphs", "test"))
    assert row == inference.accuracy(inference.Model(None, sources.load("l2_eps0_5"), inference.View(16)), x, y)


def test_a_second_run_computes_nothing_and_writes_the_same(ready, monkeypatch):
    before = OUT.read_bytes()
    monkeypatch.setattr(cells, "save", lambda *_: pytest.fail("computed again"))
    retrain.main("l2_eps0_5")
    assert OUT.read_bytes() == before


def test_runs_that_fail_are_listed_and_the_others_are_kept(ready):
    ready.edit("params.yaml", retrain__training=TINY | {"lr": 1e30})
    with pytest.raises(
        RunError,
        match=r"retrain@l2_eps0_5-glyphs: 2 of 5 runs failed; the others are kept. l2_eps0_5 on glyphs, retrained, 10, seed 0: the loss is",
    ):
        retrain.main("l2_eps0_5")
    assert not OUT.exists() or set(pd.read_parquet(OUT).cell)
