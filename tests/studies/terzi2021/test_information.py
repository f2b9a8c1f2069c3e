"""The experiment `information` on a miniature: what each run leaves, what it agrees with, and what cannot be run."""

import re
import shutil
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from repository import Repository, current
from sklearn.neighbors import NearestNeighbors

from stages import experiment
from stages.check import problems
from stages.lib.datasets.sets import card_of, load
from stages.lib.errors import RunError
from stages.lib.information import fisher_of_weights
from stages.lib.networks import sources
from stages.lib.runs.experiments import Run
from stages.lib.store import files, packed, tables
from stages.studies import registry
from stages.studies.terzi2021.experiments import information
from stages.studies.terzi2021.information import numbers

OUT = tables.RESULTS / "information"
SOURCES = ["natural", "l2_eps0_5"]
SECTION = {
    "sources": SOURCES, "targets": ["glyphs", "digits"],
    "weights": {"images": 40, "labels": 1, "beta": 1e-6, "prior_std": 1.0},
    "representation": {"images": 12, "probes": 2},
    "neighbours": {"k": 3, "images": 100}, "map": {"images": 30, "perplexity": 5},
}  # fmt: skip


@pytest.fixture(scope="module")
def finished(trained, tmp_path_factory) -> Repository:
    """A folder with sources in which the experiment has run; it is the current one."""
    folder = tmp_path_factory.mktemp("information")
    shutil.copytree(trained, folder, dirs_exist_ok=True)
    with current(folder) as repository:
        repository.edit("params.yaml", experiments=["information"], information=SECTION, grid__workers=1)
        experiment.main("information")
        yield repository


def runs_of(**changes: object) -> list[Run]:
    settings = registry.EXPERIMENTS["information"].settings(**(SECTION | changes))
    return registry.experiment_of("information").runs(settings, sources.card_of)


def computed(run: Run) -> tuple[dict, dict]:
    return information.compute(run, sources.pretrained_of(sources.card_of(run.source, run.number)), None)


def value(table: pd.DataFrame, **where: object) -> float:
    [found] = table.loc[np.logical_and.reduce([table[name] == wanted for name, wanted in where.items()]), "value"]
    return found


def test_every_run_and_measure_has_a_row(finished):
    table = pd.read_parquet(OUT / "runs.parquet")
    assert set(zip(table["source"], table["target"], table["method"], strict=True)) == {
        (source, *of) for source in SOURCES
        for of in (("glyphs", "weights"), ("glyphs", "representation"), ("glyphs", "separation"), ("digits", "separation"))
    }  # fmt: skip
    names = {
        f"{name}.weight" for name, layer in sources.load("natural").named_modules() if isinstance(layer, torch.nn.Conv2d | torch.nn.Linear)
    }
    of_weights = table[(table["method"] == "weights") & (table["source"] == "natural")].set_index("measure")["value"]
    by_layer = of_weights[[f"fisher_w/{name}" for name in names]]
    assert by_layer.sum() == pytest.approx(of_weights["fisher_w"])
    assert set(of_weights.index) == {"fisher_w", "log_variance", "damped", "weight_norm"} | {
        f"{m}/{n}" for m in ("fisher_w", "log_variance") for n in names
    }
    knn = table[table["measure"] == "knn"]
    assert knn["value"].between(0, 100).all()
    assert (knn.loc[knn["target"] == "digits", "n_test"] == card_of("digits").splits["test"].n).all()
    assert files.read_json(OUT / "settings.json")["neighbours"] == {"k": 3, "images": 100}


def test_the_weights_of_the_source_decide_and_training_images_are_what_they_are_asked_of(finished):
    network, (x, _) = sources.load("l2_eps0_5"), load("glyphs", "train")
    run = next(run for run in runs_of() if run.source == "l2_eps0_5" and run.method == "weights")
    run = replace(run, how=run.how | {"images": 10**6, "labels": "all"})  # all of them
    exact = fisher_of_weights.diagonal(network, np.array(x), card_of("glyphs").image_size, "all")
    values, _ = computed(run)
    assert values["fisher_w"] == pytest.approx(sum(float(diagonal.sum()) for diagonal in exact.values()))
    squares = sum(
        float(weight.double().square().sum()) for weight in network.state_dict().values() if weight.dim() in (2, 4) and len(weight) > 1
    )
    assert values["weight_norm"] == pytest.approx(squares**0.5)


def test_the_norm_after_the_last_epoch_is_that_of_the_source(finished):
    norms = numbers.norms_of(SOURCES)
    table = pd.read_parquet(OUT / "runs.parquet")
    for source in SOURCES:
        of_source = norms[norms["source"] == source]
        assert of_source["epoch"].tolist() == [1, 2]
        assert of_source["weight_norm"].iloc[-1] == pytest.approx(value(table, source=source, measure="weight_norm"), rel=1e-6)


def test_a_training_that_kept_no_norms_is_left_out(finished, tmp_path):
    model = sources.card_of("natural")
    [result] = packed.results(sources.folder_of("natural"))
    older = result | {"history": [{"loss": 1.0, "train_accuracy": 50.0}]}
    packed.pack(tmp_path, {"k": result, "older": older, "other": result | {"weights_sha256": "0" * 64}}, {"k", "older", "other"})
    assert [epoch for _, _, epoch, _ in numbers.norms_in("natural", tmp_path, {model.sha256: 0})] == [1, 2]


def test_neighbours_are_the_nearest_training_images(finished):
    [run] = [run for run in runs_of(neighbours={"k": 1, "images": 10**6}) if (run.source, run.target) == ("natural", "digits")]
    values, arrays = computed(run)
    body, size = sources.load("natural")[:-1], card_of("digits").image_size
    (train_x, train_y), (x, y) = (load("digits", split) for split in ("train", "test"))
    z = {
        name: information.features_of(torch.nn.Sequential(*body, torch.nn.Identity()), images, size)
        for name, images in (("train", train_x), ("test", x))
    }
    nearest = NearestNeighbors(n_neighbors=1).fit(z["train"].astype(np.float64)).kneighbors(z["test"], return_distance=False)[:, 0]
    assert values["knn"] == pytest.approx(100 * np.mean(train_y[nearest] == y), abs=0.5)
    assert arrays["correct/knn"].double().mean() * 100 == pytest.approx(values["knn"])


def test_the_first_models_leave_a_map_of_each_set(finished):
    arrays = np.load(OUT / "arrays.npz")
    assert set(arrays) == {
        f"{source}/{target}/{name}" for source in SOURCES for target in ("glyphs", "digits") for name in ("map", "label")
    }
    places, labels = arrays["natural/digits/map"], arrays["natural/digits/label"]
    assert places.shape == (30, 2)
    assert np.bincount(labels, minlength=10).tolist() == [3] * 10
    assert np.isfinite(places).all()
    assert not [run for run in runs_of(map=None) if run.method == "separation" and run.how["map"]]


def test_parts_that_are_absent_are_off(finished):
    assert {run.method for run in runs_of(weights=None, representation=None)} == {"separation"}


WRONG = {
    "models": ({"sources": ["naturel"]}, r"information\.sources: 'naturel' is not in params\.yaml: models"),
    "random": ({"sources": ["random"]}, r"information\.sources: random is random and has learnt nothing; allowed: a source that is trained or fetched"),
    "datasets": ({"targets": ["svhn"]}, r"information\.targets: 'svhn' is not in params\.yaml: datasets"),
    "own data": ({"sources": ["torchvision_resnet18"]}, r"information\.sources: torchvision_resnet18 has learnt imagenet; allowed: sources of one of params\.yaml: datasets, or no"),
    "neighbours": ({"targets": ["digits"], "neighbours": {"k": 5, "images": 40}}, r"information\.neighbours\.k is 5, and a class of digits has 4 of the training images that vote; allowed: 1 to 4, or more images"),
    "perplexity": ({"targets": ["digits"], "map": {"images": 5000, "perplexity": 900}}, r"information\.map\.perplexity is 900, and the map has 797 test images of digits; allowed: below 797"),
}  # fmt: skip


@pytest.mark.parametrize(("changes", "line"), WRONG.values(), ids=WRONG)
def test_what_cannot_be_run_is_said_before_anything_starts(finished, changes, line):
    settings = registry.load_params()
    section = registry.EXPERIMENTS["information"].settings(**(SECTION | changes))
    settings = settings.model_copy(update={"information": section, "models": [*settings.models, "torchvision_resnet18"]})
    [found] = [found for found in problems(settings) if "information" in found]
    assert re.search(line, found)


def test_a_perplexity_above_the_number_of_images_is_refused_as_it_is_read(finished):
    finished.edit("params.yaml", information=SECTION | {"map": {"images": 20, "perplexity": 20}})
    with pytest.raises(RunError, match=r"information.map.*`perplexity` below the 20 `images`"):
        registry.section("information")
    finished.edit("params.yaml", information=SECTION)


def test_what_the_catalog_does_not_count_is_said_by_the_run(finished):
    run = next(run for run in runs_of() if run.target == "digits")
    few = replace(run, how=run.how | {"neighbours": {"k": 3, "images": 20}})
    with pytest.raises(
        RunError, match=r"neighbours\.k is 3, and class \d of digits has 2 of the training images that vote; allowed: 1 to 2"
    ):
        computed(few)
    wide = replace(run, how=run.how | {"map": {"images": 30, "perplexity": 30}})
    with pytest.raises(RunError, match=r"map\.perplexity is 30, and the map has 30 test images of digits; allowed: below 30"):
        computed(wide)
