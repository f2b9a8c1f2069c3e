"""Results as they are read: of what is configured, in its order, and a file that is not there is named."""

import made
import numpy as np
import pandas as pd
import pytest
import yaml

from stages.lib.datasets import sets
from stages.lib.errors import RunError
from stages.lib.report import reading
from stages.lib.store import tables
from stages.report import settings_of

ROWS = [(blocks, n, seed, epoch) for blocks in ("3", "1") for n in (50, 200) for seed in (7, 8) for epoch in (1, 11)]


@pytest.fixture
def workspace(tmp_path, monkeypatch):
    """Results of two sources on digits, of 200 training images."""
    monkeypatch.chdir(tmp_path)
    settings = yaml.safe_load((made.ROOT / "params.yaml").read_text())
    settings |= {"sources": ["natural", "l2"], "targets": ["digits"], "datasets": ["glyphs", "digits"], "blocks": [1, 3]}
    settings["draw_subsets"]["n_images"] = [50, "all"]
    settings["report"]["headline"] = {"n_images": 70, "blocks": 2}
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(settings))
    (tmp_path / "data").mkdir()
    (tmp_path / "data/catalog.yaml").write_bytes((made.ROOT / "data/catalog.yaml").read_bytes())
    for name in settings["datasets"]:
        made.images(tmp_path / "data/images" / name, name, splits={"train": 200, "test": 30})
    for source, threat in (("natural", None), ("l2", {"norm": "l2", "eps": 0.5}), ("other", None)):
        made.write_json(tmp_path / f"models/sources/{source}/0.json", made.card(source, "trained", threat))
        made.runs([(source, "digits", *row, 50.0) for row in ROWS], tmp_path / tables.finetuned(source) / "runs.parquet")
        made.no_attacks(tmp_path / tables.robustness(source))
    return tmp_path


def test_results_are_those_of_the_configured_sources_in_the_configured_order(workspace):
    results = reading.load_results(settings_of())
    assert results.runs["source"].unique().tolist() == ["natural", "l2"]
    assert results.runs[["blocks", "n_images", "seed", "epoch"]].values.tolist()[:4] == [
        ["1", 50, 7, 1], ["1", 50, 7, 11], ["1", 50, 8, 1], ["1", 50, 8, 11],
    ]  # fmt: skip
    assert (results.blocks, results.size, results.labels) == ("1", "50", {"natural": "natural", "l2": "L2 0.5"})
    assert results.n_test == {"train": 200, "test": 30}


def test_a_target_is_reported_by_its_metric_and_its_top_1_accuracy_is_kept(workspace):
    for source in ("natural", "l2"):
        path = tables.finetuned(source) / "runs.parquet"
        runs = pd.read_parquet(path)
        runs.assign(test_mean_per_class=runs["test_accuracy"] - 20).to_parquet(path)
    assert set(reading.load_results(settings_of()).runs["test_accuracy"]) == {50.0}
    card = workspace / "data/images/digits/card.json"
    made.write_json(card, yaml.safe_load(card.read_text()) | {"metric": "mean_per_class"})
    results = reading.load_results(settings_of())
    assert set(results.runs["test_accuracy"]) == set(results.last["test_accuracy"]) == {30.0}
    assert set(results.measured["test_accuracy"]) == {50.0}
    assert results.score("digits") == "mean accuracy over classes"


def test_the_reported_epoch_of_a_run_may_be_an_earlier_one(workspace):
    for source in ("natural", "l2"):
        path = tables.finetuned(source) / "runs.parquet"
        runs = pd.read_parquet(path)
        runs.assign(reported=runs["epoch"] == 1).to_parquet(path)
    results = reading.load_results(settings_of())
    assert set(results.last["epoch"]) == {1}
    assert len(results.runs) == 2 * len(results.last)


def test_a_choice_of_rates_needs_the_table_of_all_rates(workspace):
    settings = yaml.safe_load((workspace / "params.yaml").read_text())
    settings["finetune"]["select"] = {"by": "test"}
    (workspace / "params.yaml").write_text(yaml.safe_dump(settings))
    with pytest.raises(RunError, match=r"models/finetuned/natural/rates\.parquet: the file is missing"):
        reading.load_results(settings_of())
    for source in ("natural", "l2", "other"):
        runs = pd.read_parquet(tables.finetuned(source) / "runs.parquet")
        rates = runs.assign(held_out=0, validation_accuracy=np.nan, validation_mean_per_class=np.nan)
        rates.to_parquet(tables.finetuned(source) / "rates.parquet")
    assert len(reading.load_results(settings_of()).rates) == 2 * len(ROWS)


def test_all_training_images_are_a_size_whatever_their_number(workspace):
    results = reading.load_results(settings_of())
    assert results.whole == {"digits": 200}
    assert results.runs.groupby("n_images")["size"].unique().str[0].to_dict() == {50: "50", 200: "all"}


def test_where_every_size_is_all_it_is_the_compared_one(workspace):
    settings = yaml.safe_load((workspace / "params.yaml").read_text())
    settings["draw_subsets"]["n_images"] = "all"
    (workspace / "params.yaml").write_text(yaml.safe_dump(settings))
    assert reading.load_results(settings_of()).size == "all"


def test_samples_are_the_first_image_of_each_class(workspace):
    x, _ = sets.load("digits", "train")
    samples = reading.samples_of("digits")
    assert list(samples) == ["train", "test"]
    shown, labels = samples["train"]
    assert labels.tolist() == list(range(10))
    assert np.array_equal(shown, x[:10])


def test_large_pictures_are_reduced_in_what_the_page_shows():
    x = np.full((2, 120, 120, 3), 7, np.uint8)
    assert reading.reduced(x).shape == (2, reading.SHOWN, reading.SHOWN, 3)
    assert (reading.reduced(x) == 7).all()
    assert reading.reduced(x[..., :1]).shape == (2, reading.SHOWN, reading.SHOWN, 1)


def test_an_experiment_is_its_runs_arrays_and_settings(workspace):
    folder = workspace / tables.RESULTS / "retrain"
    made.write_json(folder / "settings.json", {"k": [1]})
    row = ("l2", "digits", "retrained", 1.0, 0, "clean", 50.0, 2, "c")
    pd.DataFrame([row], columns=list(tables.EXPERIMENT_RUNS)).to_parquet(folder / "runs.parquet")
    images = [(*row[:6], place, place == 7) for place in (3, 7)]
    pd.DataFrame(images, columns=list(tables.EXPERIMENT_IMAGES)).to_parquet(folder / "images.parquet")
    np.savez(folder / "arrays.npz", a=np.arange(3))
    [(name, results)] = reading.load_experiments(["retrain"]).items()
    assert (name, results.settings, results.runs["value"].tolist()) == ("retrain", {"k": [1]}, [50.0])
    assert results.arrays["a"].tolist() == [0, 1, 2]
    assert results.images.set_index("image")["correct"].to_dict() == {3: False, 7: True}
    assert list(reading.cards_of({"retrain": results})) == ["l2"]


def damage(path, content: bytes | None) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if content is not None:
        path.write_bytes(content)


@pytest.mark.parametrize("content", [None, b"no such format"], ids=["missing", "damaged"])
@pytest.mark.parametrize("name", ["table.parquet", "table.csv", "arrays.npz"])
def test_a_file_that_cannot_be_read_is_named_in_one_line(tmp_path, name, content):
    path = tmp_path / name
    damage(path, content)
    with pytest.raises(RunError, match=name) as caught:
        reading.read_arrays(path) if name.endswith("npz") else reading.read_table(path, ["source"])
    assert "\n" not in str(caught.value)


def test_a_column_that_is_not_there_is_named_with_those_that_are(tmp_path):
    (tmp_path / "table.csv").write_text("source,target\na,b\n")
    with pytest.raises(RunError, match=r"table.csv: has no column 'seed'; .*source, target"):
        reading.read_table(tmp_path / "table.csv", ["source", "seed"])


def test_examples_are_of_one_model_and_norm(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder = tables.robustness("l2")
    folder.mkdir(parents=True)
    names = ("clean", "adversarial", "label", "predicted_clean", "predicted_adversarial")
    np.savez(folder / "examples.npz", source_l2_eps=0.5, **{f"source_l2_{name}": np.arange(2) for name in names})
    [group] = reading.example_group("l2", "digits", "source", "l2")
    assert (group["source"], group["norm"], group["radius"]) == ("l2", "l2", "L2 0.5")
    assert reading.example_group("l2", "digits", "finetuned", "l2") == []
