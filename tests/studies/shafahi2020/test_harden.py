"""Three ways of hardening, on few images of each class."""

import numpy as np
import pandas as pd
import pytest
from experiments import turn_on

from stages import experiment
from stages.lib.datasets import sets as datasets
from stages.lib.errors import RunError
from stages.lib.store import tables
from stages.studies.shafahi2020.experiments import harden

OUT = tables.RESULTS / "harden" / "runs.parquet"


@pytest.fixture
def ready(source_ready):
    turn_on(source_ready, "harden")
    return source_ready


def passes() -> dict[tuple[str, float], float]:
    return pd.read_parquet(OUT).query("measure == 'passes'").set_index(["method", "setting"]).value.to_dict()


def test_each_way_is_measured_and_its_cost_counted(ready):
    experiment.main("harden")
    table = pd.read_parquet(OUT)
    assert dict(table.dtypes.astype(str)) == tables.EXPERIMENT_RUNS
    assert set(table.measure) == {"passes", "train", "clean", "pgd20", "cw20"}
    trained = 6 * 16
    assert passes() == {
        ("adversarial", 2.0): trained * 3, ("adversarial", 4.0): trained * 3, ("finetuned", 2.0): trained * 3,
        ("finetuned", 4.0): trained * 3, ("transferred", 2.0): trained, ("transferred", 4.0): trained,
    }  # fmt: skip


def test_by_epochs_fewer_images_are_trained_on_in_fewer_steps(ready):
    for way in ("from_scratch", "adversarial_finetuning", "natural_head"):
        ready.edit("params.yaml", **{f"harden__{way}": {"epochs": 3, "batch_size": 16, "lr": 0.05}})
    experiment.main("harden")
    few, more = 3 * 16, 3 * 2 * 16  # 20 images have one full batch, 40 have two
    assert {(method, n): count for (method, n), count in passes().items() if method != "transferred"} == {
        ("adversarial", 2.0): few * 3, ("adversarial", 4.0): more * 3, ("finetuned", 2.0): few * 3, ("finetuned", 4.0): more * 3,
    }  # fmt: skip


def test_free_training_costs_as_much_as_natural_training(ready):
    ready.edit("params.yaml", harden__attack__replay=3, harden__pieces="all", harden__n_per_class=[2])
    experiment.main("harden")
    assert passes()["adversarial", 2.0] == 6 * 16
    assert passes()["finetuned", 2.0] == 6 * 16 * 3


def test_so_many_images_of_each_class_are_drawn_from_the_seed():
    y = np.repeat(np.arange(5), [7, 4, 9, 5, 6])
    rows = harden.few(y, 4, 0, "digits")
    assert np.bincount(y[rows]).tolist() == [4] * 5
    assert np.array_equal(rows, harden.few(y, 4, 0, "digits"))
    assert not np.array_equal(rows, harden.few(y, 4, 1, "digits"))
    with pytest.raises(RunError, match=r"harden.n_per_class is 5; allowed: 1 to 4, the images of the smallest class of digits"):
        harden.few(y, 5, 0, "digits")


def test_more_images_than_a_class_has_are_one_clear_line(ready):
    most = int(np.bincount(datasets.load("digits", "train")[1]).min())
    ready.edit("params.yaml", harden__n_per_class=[500])
    with pytest.raises(RunError, match=rf"harden.n_per_class is 500; allowed: 1 to {most}") as caught:
        experiment.main("harden")
    assert "\n" not in str(caught.value)
