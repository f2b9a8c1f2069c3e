"""Three ways of hardening, on few images of each class."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from experiments import TINY, turn_on

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


def test_runs_before_one_that_fails_are_in_the_journal(ready):
    ready.edit(
        "params.yaml", harden__adversarial_finetuning=TINY | {"lr": 1e30, "steps": 60}, harden__pieces="all", harden__n_per_class=[2]
    )
    with pytest.raises(RunError, match=r"experiment@harden: 1 of 3 runs failed; .*finetuned, 2, seed 0: the loss is"):
        experiment.main("harden")
    events = [json.loads(line) for path in Path(".runs").rglob("*.jsonl") for line in path.read_text().splitlines()]
    found = [event for event in events if event["event"] == "cell"]
    assert sorted(event["params"]["method"] for event in found) == ["adversarial", "transferred"]
    assert {"clean", "pgd20", "cw20", "passes"} <= set(found[0]["history"][0][1])
