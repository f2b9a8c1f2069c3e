"""The plan of the grid: every combination once, and keys that hold all that decides a result."""

from dataclasses import replace

import pytest
from jobs import MANY, SUBSETS, TRAINING, make_job, three_epochs

from stages.lib.runs import grid
from stages.lib.runs.grid import Cell
from stages.lib.runs.jobs import Job


@pytest.fixture
def job(tmp_path, monkeypatch) -> Job:
    return make_job(tmp_path, monkeypatch)


def test_the_plan_is_every_combination_once(job):
    planned = grid.plan(job, [0, 3, "all"], SUBSETS, three_epochs)
    assert [(c.blocks, c.n_images, c.seed) for c in planned] == [(b, n, s) for b in (0, 3, "all") for n, s in ((20, 1), (20, 2), (30, 1))]
    assert len({cell.key for cell in planned}) == 9


def test_a_source_without_pretraining_trains_the_whole_network_only(job):
    assert {c.blocks for c in grid.plan(replace(job, source_sha256=None, weights=None), [0, 3], SUBSETS, three_epochs)} == {"all"}


CELL = Cell("src", "noise", 1, 20, 1, epochs=2, eval_every=1)


@pytest.mark.parametrize(
    "change",
    [
        {"architecture": "resnet18"},
        {"classes": 5},
        {"head_init": "normal"},
        {"source_sha256": "dd"},
        {"target_sha256": ("bb", "dd")},
        {"training": TRAINING | {"frozen_batchnorm": "batch"}},
        {"image_size": 32},
        {"resolution": 8},
        {"augmentation": "resized_crop"},
        {"mixed_precision": True},
        {"moments": ([0.4] * 3, [0.2] * 3)},
    ],
)
def test_the_key_changes_with_all_that_decides_the_result(job, change):
    subset = SUBSETS["20_1"]
    assert grid.key_of(replace(job, **change), CELL, subset) != grid.key_of(job, CELL, subset)
    assert grid.key_of(job, replace(CELL, seed=2), subset) != grid.key_of(job, CELL, subset)
    assert grid.key_of(job, replace(CELL, epochs=3), subset) != grid.key_of(job, CELL, subset)
    assert grid.key_of(job, replace(CELL, lr=0.06), subset) != grid.key_of(job, CELL, subset)
    assert grid.key_of(job, CELL, subset[:15], subset[15:]) != grid.key_of(job, CELL, subset[:15])
    assert grid.key_of(job, replace(CELL, blocks=2), subset) != grid.key_of(job, CELL, subset)
    assert grid.key_of(job, CELL, subset[::-1]) != grid.key_of(job, CELL, subset)


@pytest.mark.parametrize(
    ("blocks", "key"),
    [
        (1, "18aa259e966a42837e5e61781e559211543a66c80e22e36c4b4a77820a5a6f89"),
        ("all", "202d02d1e5d08681590a83c2ab2407bf45caa8894afbeb0043ca0a117e4b3f09"),
    ],
)
def test_keys_of_runs_before_there_were_modes_stay(job, monkeypatch, blocks, key):
    """But for the code, of which no constant is asked here: without it the hash is that of the release before."""
    monkeypatch.setattr(grid.deciding, "code_of", lambda *modules: {})
    known = replace(job, source_sha256="aa", target_sha256=("bb", "cc"))
    assert grid.key_of(known, replace(CELL, blocks=blocks), SUBSETS["20_1"]) == key


def test_the_number_of_views_is_in_the_key_of_runs_with_a_frozen_part(job):
    jobs = [replace(job, augmentation="published", views=views) for views in (None, 2, 3)]
    for blocks, different in ((1, 3), ("last_norm", 3), ("norms", 1), ("all", 1)):
        assert len({grid.key_of(each, replace(CELL, blocks=blocks), SUBSETS["20_1"]) for each in jobs}) == different


def test_the_last_batch_norm_is_trained_together_and_all_batch_norms_alone(job):
    planned = grid.plan(job, ["last_norm", "norms"], MANY, three_epochs)
    assert [cell.together for cell in planned] == [grid.TOGETHER] * 5 + [1] * 2 + [1] * 7
    assert job.fixed_in_all_runs("last_norm") == {"train", "test"}
    assert job.fixed_in_all_runs("norms") == set()


def test_names_and_places_decide_nothing(job):
    subset = SUBSETS["20_1"]
    moved = replace(job, source="other", target="elsewhere", weights="/other/path", rates=(0.05, 0.1))
    assert grid.key_of(moved, replace(CELL, source="other", target="elsewhere"), subset) == grid.key_of(job, CELL, subset)


def test_whole_batches_of_seeds_are_trained_together_where_that_is_faster(job):
    def sizes(job, blocks):
        return [len(batch) for batch in grid.batches(job, grid.plan(job, [blocks], MANY, three_epochs))]

    assert sizes(job, 0) == sizes(job, 3) == [5, 1, 1]
    assert sizes(job, 9) == sizes(job, "all") == [1] * 7
    assert sizes(replace(job, architecture="resnet50"), 0) == [5, 1, 1]
    assert sizes(replace(job, architecture="resnet50"), 1) == sizes(replace(job, architecture="vgg16_bn"), 0) == [1] * 7
    assert sizes(replace(job, augmentation="published"), 0) == [1] * 7
    assert sizes(replace(job, augmentation="published", views=2), 0) == [5, 1, 1]


def test_the_key_holds_how_many_runs_are_trained_together(job):
    planned = grid.plan(job, [0], MANY, three_epochs)
    assert planned[0].key != grid.key_of(job, replace(planned[0], together=1), MANY["16_0"])
    fewer = grid.plan(job, [0], {name: MANY[name] for name in list(MANY)[:6]}, three_epochs)
    assert [cell.key for cell in fewer] == [cell.key for cell in planned[:6]]


@pytest.mark.parametrize(
    ("change", "cached"),
    [
        ({}, {"train", "test"}),
        ({"augmentation": "crop_flip"}, {"test"}),
        ({"augmentation": "crop_flip", "views": 2}, {"train", "test"}),
        ({"training": TRAINING | {"frozen_batchnorm": "adapted"}}, set()),
        ({"training": TRAINING | {"frozen_batchnorm": "batch"}}, set()),
    ],
)
def test_what_is_not_always_the_same_is_not_cached(job, change, cached):
    assert replace(job, **change).fixed_in_all_runs(1) == cached
    assert replace(job, **change).fixed_in_all_runs("all") == set()
