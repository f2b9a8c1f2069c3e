"""Fine-tuning at several learning rates: all are computed and kept, one is reported, and what chose it can be changed afterwards."""

import shutil

import pandas as pd
import pytest

from stages import check, draw_subsets, finetune
from stages.lib.datasets import sets, subsets
from stages.lib.store import cells, files, tables

OUT = tables.finetuned("natural")
RATES = [0.05, 0.0001]
SETTING = ["target", "blocks", "n_images"]


@pytest.fixture
def ready(source_ready):
    source_ready.edit("params.yaml", blocks=[1], finetune__lr=RATES, finetune__select={"by": "test"})
    return source_ready


def computed_cells() -> set[str]:
    return {path.stem for path in cells.folder("finetune").rglob("*.json")}


def read(name: str) -> pd.DataFrame:
    return pd.read_parquet(OUT / f"{name}.parquet")


def best_by(table: pd.DataFrame, score: str) -> dict:
    """The rate with the highest mean over the trials at the last epoch, of each setting; of equal ones the first in the table."""
    means = table[table.epoch == 2].groupby([*SETTING, "lr"])[score].mean().unstack()
    return means[table["lr"].unique()].idxmax(axis=1).to_dict()


def test_every_rate_is_kept_and_the_best_one_on_the_test_images_is_reported(ready):
    finetune.main("natural")
    rates, runs = read("rates"), read("runs")
    assert dict(rates.dtypes.astype(str)) == tables.RATES
    assert dict(runs.dtypes.astype(str)) == tables.RUNS
    assert len(rates) == 2 * len(runs) == 2 * 2 * 2 * 2  # rates, sizes, seeds, epochs
    assert rates["validation_accuracy"].isna().all()
    chosen = best_by(rates, "test_accuracy")
    assert set(chosen.values()) == {0.05}, "the other one is too small to learn anything"
    assert runs.groupby(SETTING)["lr"].unique().map(list).to_dict() == {key: [lr] for key, lr in chosen.items()}
    assert runs["reported"].tolist() == (runs["epoch"] == 2).tolist()
    assert set(rates.loc[rates["reported"], "cell"]) == set(runs["cell"])
    assert runs["test_mean_per_class"].between(0, 100).all()
    assert not runs["test_mean_per_class"].equals(runs["test_accuracy"])
    [kept] = OUT.glob("weights/digits/*.safetensors")
    [cell] = runs.loc[(runs["n_images"] == 40) & (runs["seed"] == 20000000), "cell"].unique()
    [stored] = [path for path in cells.folder("finetune").rglob("*.safetensors") if path.stem.startswith(cell)]
    assert files.sha256_of(kept) == files.sha256_of(stored)


def test_a_rate_alone_is_the_same_runs_and_leaves_no_table_of_rates(ready):
    finetune.main("natural")
    runs, before = read("rates"), computed_cells()
    ready.edit("params.yaml", finetune__lr=RATES[1], finetune__select=None)
    finetune.main("natural")
    assert computed_cells() == before
    assert not (OUT / "rates.parquet").exists()
    same = runs[runs["lr"] == RATES[1]].assign(reported=lambda rows: rows["epoch"] == 2)[list(tables.RUNS)]
    pd.testing.assert_frame_equal(read("runs"), same.reset_index(drop=True))


def test_validation_images_choose_and_the_runs_that_learn_from_all_are_reported(ready, capsys):
    finetune.main("natural")
    before, by_test = computed_cells(), read("runs")
    ready.edit("params.yaml", finetune__select={"by": "validation", "validation": 0.2})
    finetune.main("natural")
    assert len(computed_cells() - before) == 2 * 2 * 2, "runs without the images that are held out, at each rate"
    rates, runs = read("rates"), read("runs")
    held = rates[rates["held_out"] > 0]
    assert held.groupby("n_images")["held_out"].unique().map(list).to_dict() == {20: [4], 40: [8]}
    assert held["validation_accuracy"].between(0, 100).all()
    assert not held["reported"].any()
    assert runs.groupby(SETTING)["lr"].unique().map(lambda found: found[0]).to_dict() == best_by(held, "validation_accuracy")
    assert set(runs["cell"]) <= set(rates.loc[rates["held_out"] == 0, "cell"])
    if runs["lr"].tolist() == by_test["lr"].tolist():
        pd.testing.assert_frame_equal(runs, by_test)
    share = held["validation_accuracy"] * held["held_out"] / 100
    assert (share - share.round()).abs().max() < 1e-9, "a share of as many images as are held out"

    shutil.rmtree(cells.folder("finetune"))  # as on a machine that pulls the results: of the other rate it gets no weights
    check.take_in_pulled_cells()
    capsys.readouterr()
    finetune.main("natural")
    assert "all 16 runs are in the store" in capsys.readouterr().err


def test_the_best_epoch_counts_where_it_is_asked_for_and_the_metric_is_that_of_the_target(ready):
    card = files.read_json(sets.IMAGES / "digits/card.json")
    files.write_json(sets.IMAGES / "digits/card.json", card | {"metric": "mean_per_class"})
    ready.edit("params.yaml", finetune__select={"by": "test", "epoch": "best"}, finetune__epochs=4)
    finetune.main("natural")
    runs, rates = read("runs"), read("rates")
    best = rates.groupby([*SETTING, "lr", "seed"])["test_mean_per_class"].max().groupby([*SETTING, "lr"]).mean().unstack().idxmax(axis=1)
    assert runs.groupby(SETTING)["lr"].first().to_dict() == best.to_dict()
    reported = runs[runs["reported"]].set_index(["n_images", "seed"])["test_mean_per_class"]
    assert len(reported) == 4
    assert reported.to_dict() == runs.groupby(["n_images", "seed"])["test_mean_per_class"].max().to_dict()
    assert set(finetune.accuracies(runs, {"digits": "mean_per_class"})) == {f"digits/1/{n}_images/mean_per_class" for n in (20, 40)}
    assert set(finetune.accuracies(runs, {"digits": "accuracy"})) == {f"digits/1/{n}_images" for n in (20, 40)}


def test_trials_on_the_whole_training_set_differ_in_head_and_order(ready):
    ready.edit("params.yaml", draw_subsets__n_images="all", draw_subsets__n_seeds=3, finetune__epochs=1, finetune__lr=[0.05])
    draw_subsets.main("digits")
    drawn = subsets.load("digits")
    assert [sorted(places) == list(range(1000)) for places in drawn.values()] == [True] * 3
    finetune.main("natural")
    runs = read("runs")
    assert runs["n_images"].tolist() == [1000] * 3
    assert runs["train_loss"].nunique() == 3
