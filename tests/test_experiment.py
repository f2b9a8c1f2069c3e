"""The stage of all experiments: every run is one row for each measure, what is done is not done again, and what fails is listed."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from experiments import SECTIONS, TINY, turn_on
from repository import ran

from stages import experiment
from stages.lib.datasets.sets import load
from stages.lib.errors import RunError
from stages.lib.store import cells, tables
from stages.studies import registry

OUT = tables.RESULTS / "retrain"


@pytest.fixture
def ready(source_ready):
    turn_on(source_ready, "retrain", retrain__n_seeds=1)
    return source_ready


def test_it_leaves_runs_arrays_and_settings_and_a_second_time_computes_nothing(ready, monkeypatch):
    experiment.main("retrain")
    first = {path.name: path.read_bytes() for path in OUT.iterdir()}
    assert set(first) == {"runs.parquet", "images.parquet", "arrays.npz", "settings.json"}
    assert dict(pd.read_parquet(OUT / "runs.parquet").dtypes.astype(str)) == tables.EXPERIMENT_RUNS
    assert not np.load(OUT / "arrays.npz").files
    images = pd.read_parquet(OUT / "images.parquet")
    assert dict(images.dtypes.astype(str)) == tables.EXPERIMENT_IMAGES
    of_run = images.groupby(["method", "setting", "measure"])
    accuracies = pd.read_parquet(OUT / "runs.parquet").set_index(["method", "setting", "measure"])
    assert accuracies["value"][of_run.size().index].to_dict() == pytest.approx((100 * of_run["correct"].mean()).to_dict())
    assert accuracies["n_test"][of_run.size().index].to_dict() == of_run.size().to_dict()
    assert accuracies["n_test"].drop(of_run.size().index).groupby("measure").unique().to_dict() == {"images": [0], "train": [16]}
    places = of_run["image"].unique().map(tuple)
    whole = tuple(range(len(load("glyphs", "test")[1])))
    assert set(places.xs("clean", level="measure")) == {whole}
    [drawn] = set(places.drop("clean", level="measure"))
    assert set(drawn) < set(whole)
    assert max(drawn) > 16
    assert registry.EXPERIMENTS["retrain"].settings(**json.loads(first["settings.json"])) == registry.section("retrain")
    monkeypatch.setattr(cells, "save", lambda *_: pytest.fail("computed again"))
    experiment.main("retrain")
    assert {path.name: path.read_bytes() for path in OUT.iterdir()} == first


def test_runs_that_fail_are_listed_and_the_others_are_kept(source_ready):
    turn_on(source_ready, "harden", harden__n_per_class=[2, 5000])
    failed = (
        r"experiment@harden: 3 of 6 runs failed; the others are kept. l2_eps0_5 on digits, .*: harden.n_per_class is 5000; allowed: 1 to"
    )
    with pytest.raises(RunError, match=failed):
        experiment.main("harden")
    assert not (tables.RESULTS / "harden").exists()
    events = [json.loads(line) for path in Path(".runs").rglob("*.jsonl") for line in path.read_text().splitlines()]
    found = [event for event in events if event["event"] == "cell"]
    assert sorted(event["params"]["method"] for event in found) == ["adversarial", "finetuned", "transferred"]
    assert {"clean", "pgd20", "cw20", "passes"} <= set(found[0]["history"][0][1])
    source_ready.edit("params.yaml", harden__n_per_class=[2])
    experiment.main("harden")
    assert set(pd.read_parquet(tables.RESULTS / "harden" / "runs.parquet").setting) == {2.0}


def test_runs_that_diverge_are_results(ready):
    ready.edit("params.yaml", retrain__training=TINY | {"lr": 1e30})
    experiment.main("retrain")
    table = pd.read_parquet(OUT / "runs.parquet")
    assert table[table.measure == tables.DIVERGED].set_index("setting").value.to_dict() == {10.0: 1.0}
    assert table[(table.setting == 10.0) & (table.measure == "clean")].value.between(0, 100).all()


@pytest.mark.parametrize(
    ("name", "section", "words"),
    [
        ("retran", SECTIONS["retrain"], ["'retran' is no experiment", "did you mean 'retrain'"]),
        ("retrain", None, ["retrain has no settings"]),
        ("harden", SECTIONS["harden"] | {"n_per_class": [0]}, ["harden.n_per_class.0 is 0", "greater than or equal to 1"]),
        ("retrain", SECTIONS["retrain"] | {"sources": ["absent"]}, ["models/sources/absent/0.json"]),
    ],
)
def test_what_cannot_run_is_one_clear_line(workspace, name, section, words):
    workspace.edit("params.yaml", experiments=[name], **{name: section})
    with pytest.raises((RunError, SystemExit)) as caught:
        experiment.main(name)
    assert "\n" not in str(caught.value)
    assert not [word for word in words if word not in str(caught.value)], str(caught.value)


def test_an_experiment_without_a_section_says_so(workspace):
    with pytest.raises(RunError, match=r"params\.yaml: retrain is missing"):
        experiment.main("retrain")


def test_it_runs_alone_through_dvc_with_nested_keys_of_the_command_line_and_then_is_in_the_report(copy):
    """What all four experiments show in the report, tests/test_profiles_shafahi.py holds."""
    turn_on(copy, "retrain", retrain__k=[1], retrain__n_seeds=1)
    nested = ["-S", "retrain.training.steps=3", "-S", "retrain.measured.max_images=8", "-S", "retrain.training.lr=1.0e+38"]
    assert ran(copy.dvc("exp", "run", *nested, "experiment@retrain").stdout) == ["check", "experiment@retrain"]
    settings = json.loads(copy.text("models/results/retrain/settings.json"))
    assert (settings["training"]["steps"], settings["measured"]["max_images"]) == (3, 8)
    assert set(pd.read_parquet(copy.folder / "models/results/retrain/runs.parquet")["setting"]) == {0.0, 1.0}

    assert copy.repro("report") == ["report"]
    page = copy.text("reports/report.html")
    assert "Adversarially Robust Transfer Learning" in page
    assert "Robustness transfers with robust features" in page
    assert "<b>1 run diverged</b>" in page
    assert "on glyphs: 1 of 2, at the learning rate 1e+38." in page
    assert set(pd.read_csv(copy.folder / "reports/tables/experiments.csv")["experiment"]) == {"retrain"}
    assert list((copy.folder / "reports/figures").glob("shafahi*.svg"))
