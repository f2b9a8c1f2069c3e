"""Inversions of real small sources: the same images for all, measured by what is recomputed here, and what cannot be run is one line."""

import re
import shutil
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from repository import Repository, current

from stages import experiment
from stages.check import problems
from stages.lib.datasets.sets import load
from stages.lib.networks import sources, units
from stages.lib.runs.experiments import Run
from stages.lib.store import files, tables
from stages.lib.store.tables import CORRECT
from stages.studies import registry
from stages.studies.utrera2021.features import invert, optimised

OUT = tables.RESULTS / "invert"
SECTION = {
    "sources": ["l2_eps0_5"], "targets": ["glyphs", "digits"], "n_images": 6, "n_seeds": 1, "judges": ["natural"], "pictures": 3,
    "descent": {"steps": 12, "step_size": 0.5, "decay": True}, "noise": {"variational": [0.001], "effective": [0.001], "prior_std": 0.02, "images": 4},
}  # fmt: skip


@pytest.fixture(scope="module")
def ready(trained, tmp_path_factory):
    folder = tmp_path_factory.mktemp("invert")
    shutil.copytree(trained, folder, dirs_exist_ok=True)
    with current(folder) as repository:
        repository.edit("params.yaml", experiments=["invert"], invert=SECTION, grid__workers=1)
        yield repository


@pytest.fixture(scope="module")
def finished(ready) -> Repository:
    experiment.main("invert")
    return ready


def runs_of(**changes: object) -> list[Run]:
    settings = registry.EXPERIMENTS["invert"].settings(**(SECTION | changes))
    return registry.EXPERIMENTS["invert"].runs(settings, sources.card_of)


def computed(run: Run) -> tuple[dict, dict]:
    return invert.compute(run, sources.pretrained_of(sources.card_of(run.source)), None)


def test_every_way_on_every_set_leaves_its_measures(finished):
    table = pd.read_parquet(OUT / "runs.parquet")
    ways = {("plain", 0.0), ("variational", 0.001), ("effective", 0.001)}
    assert set(table[["target", "method", "setting"]].itertuples(index=False, name=None)) == {
        (target, *way) for target in ("glyphs", "digits") for way in ways
    }
    seen = set(table[table["target"] == "glyphs"]["measure"])
    assert seen - set(table[table["target"] == "digits"]["measure"]) == {
        "recognised_natural",
        "original_natural",
    }  # which it has not learnt
    assert {"pixel", "feature", "outline", "start", "blank", "other"} < seen
    assert (pd.read_parquet(OUT / "images.parquet")["measure"].value_counts() == 3 * 6).all()


def test_distances_are_those_of_the_arrays_that_were_kept(finished):
    """In float64, from the images that were kept, of which a byte is 1/255."""
    arrays = np.load(OUT / "arrays.npz")
    start = "l2_eps0_5/glyphs/plain/0/0/"
    places = arrays[start + "place"]
    original, inverted = (arrays[f"{start}{name}"].astype(np.float64) / 255 for name in ("original", "inversion"))
    x, y = load("glyphs", "test")
    [run] = [run for run in runs_of() if (run.target, run.method) == ("glyphs", "plain")]
    _, _, drawn = invert.drawn(run)
    assert np.array_equal(arrays[start + "original"], x[drawn[places]])
    other, _ = invert.companions(y, drawn)
    assert (y[other] == y[drawn]).all()
    assert (other != drawn).all()
    scale = np.linalg.norm((x[other].astype(np.float64) - x[drawn]).reshape(6, -1) / 255, axis=1).mean()
    expected = 100 * np.linalg.norm((inverted - original).reshape(3, -1), axis=1) / scale
    assert np.allclose(arrays[start + "pixel"][places], expected, atol=0.5)
    body, _ = units.split(sources.load("l2_eps0_5"), 0)
    with torch.no_grad():
        z, wanted = (body(torch.from_numpy(at).float().permute(0, 3, 1, 2)) for at in (inverted, original))
    far = 100 * (z - wanted).norm(dim=1) / wanted.norm(dim=1)
    assert np.allclose(arrays[start + "feature"][places], far, atol=2)


def test_features_come_nearer_step_by_step_and_the_curve_ends_where_the_run_does(finished):
    arrays = np.load(OUT / "arrays.npz")
    for way in ("plain/0", "variational/0.001", "effective/0.001"):
        start = f"l2_eps0_5/glyphs/{way}/0/"
        steps, feature = arrays[start + "curve_step"], arrays[start + "curve_feature"]
        assert (steps[0], steps[-1]) == (0, 12)
        assert feature[-1] == pytest.approx(arrays[start + "feature"].mean(), rel=1e-4)
        assert arrays[start + "curve_pixel"][0] == pytest.approx(arrays[start + "start"].mean(), rel=1e-4)
    plain = arrays["l2_eps0_5/glyphs/plain/0/0/curve_feature"]
    assert plain[-1] < 0.6 * plain[0]


def test_all_sources_begin_at_the_same_images_and_batches_change_nothing(ready, monkeypatch):
    whole = [computed(run)[1] for run in (runs_of(sources=["l2_eps0_5", "natural"], judges=[], targets=["glyphs"])[i] for i in (0, 3))]
    assert torch.equal(whole[0]["start"], whole[1]["start"])
    assert not torch.allclose(whole[0]["pixel"], whole[1]["pixel"])
    monkeypatch.setattr(optimised, "BATCH", 4)
    [run] = [run for run in runs_of(targets=["glyphs"]) if run.method == "plain"]
    parts = computed(run)[1]
    for name in ("pixel", "feature", "curve_feature"):
        assert torch.allclose(parts[name], whole[0][name], rtol=1e-3), name
    assert CORRECT + "recognised_natural" in parts


def test_noise_moves_the_inversion_and_is_drawn_once_or_anew(ready):
    plain, once, anew = (computed(run)[1] for run in runs_of(targets=["glyphs"]))
    assert len({round(float(each["feature"].mean()), 3) for each in (plain, once, anew)}) == 3
    [original] = [run for run in runs_of(targets=["glyphs"], noise=SECTION["noise"] | {"on": "original"}) if run.method == "effective"]
    assert not torch.allclose(computed(original)[1]["pixel"], anew["pixel"])
    settings = {run.method: run for run in runs_of(targets=["glyphs"])}
    assert torch.equal(computed(settings["variational"])[1]["pixel"], once["pixel"])  # all of it comes from the seed


def test_an_image_may_begin_as_one_of_another_class(ready):
    [run] = [run for run in runs_of(targets=["glyphs"], start="image") if run.method == "plain"]
    _, y, places = invert.drawn(run)
    _, strangers = invert.companions(y, places)
    assert (y[strangers] != y[places]).all()
    assert computed(run)[0]["start"] > 80  # nearly as far as two images of a class


def test_another_model_judges(ready):
    """Of a source of two models each is judged by the other."""
    folder = sources.folder_of("natural")
    for kind in ("safetensors", "json"):
        shutil.copy2(folder / f"0.{kind}", folder / f"1.{kind}")
    files.write_json(folder / "1.json", files.read_json(folder / "1.json") | {"number": 1})
    try:
        found = runs_of(sources=["natural"], targets=["glyphs"], n_seeds=2, noise={})
        assert [(run.number, run.others[0].weights[-13:]) for run in found] == [(0, "1.safetensors"), (1, "0.safetensors")]
    finally:
        for kind in ("safetensors", "json"):
            (folder / f"1.{kind}").unlink()


def test_a_judge_and_the_norm_of_the_steps_are_in_the_key(ready):
    [run, *_] = runs_of(targets=["glyphs"])
    other = replace(run.others[0], sha256="0" * 64)
    keys = {replace(run, **changes).key for changes in ({}, {"others": ()}, {"others": (other,)}, {"how": run.how | {"start_std": 0.1}})}
    assert len(keys) == 4


WRONG = {
    "models": ({"sources": ["naturel"]}, r"invert\.sources: 'naturel' is not in params\.yaml: models"),
    "datasets": ({"targets": ["cifar10"]}, r"invert\.targets: 'cifar10' is not in params\.yaml: datasets"),
    "random": ({"sources": ["random"]}, r"invert\.sources: random is random and has learnt nothing; allowed: a source that is trained or"),
    "eps": ({"descent": {"steps": 1, "step_size": 1.0, "eps": 1000.0}}, r"invert\.descent\.eps is 1000, beyond the range of pixels; allowed: 0 to"),
    "judge": ({"sources": ["natural"]}, r"invert\.judges: natural is one model, and its own images would be judged by itself; allowed: a source"),
}  # fmt: skip


@pytest.mark.parametrize(("changes", "line"), WRONG.values(), ids=WRONG)
def test_what_cannot_be_run_is_said_before_anything_starts(ready, changes, line):
    settings = registry.load_params()
    section = registry.EXPERIMENTS["invert"].settings(**(SECTION | changes))
    [found] = [found for found in problems(settings.model_copy(update={"invert": section})) if "invert" in found]
    assert re.search(line, found)


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"descent": {"steps": 0, "step_size": 1.0}}, "invert.descent.steps is 0; allowed: .*1"),
        ({"descent": {"steps": 1, "step_size": 0.0}}, "invert.descent.step_size is 0.0"),
        ({"descent": {"steps": 1, "step_size": 1.0, "norm": "l3"}}, "invert.descent.norm is 'l3'; allowed: .*l2"),
        ({"noise": {"variational": [0.1, 0.1]}}, "invert.noise.variational"),
        ({"n_images": 1}, "invert.n_images is 1"),
        ({"judges": ["natural", "natural"]}, "invert"),
    ],
)
def test_settings_that_mean_nothing_are_one_line(ready, changes, line):
    ready.edit("params.yaml", invert=SECTION | changes)
    with pytest.raises(registry.SettingsError, match=line) as error:
        registry.section("invert")
    assert "\n" not in str(error.value)
    ready.edit("params.yaml", invert=SECTION)
