"""The grid: keys hold all that decides a result, the pool gives what a serial loop gives, kept work is not done again."""

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from stages.lib import cells, datasets, files, finetuning, grid, networks
from stages.lib.grid import Cell, Job

TRAINING = {"batch_size": 16, "lr": 0.05, "momentum": 0.9, "weight_decay": 5e-4, "frozen_batchnorm": "source"}


def three_epochs(n_images: int) -> tuple[int, int]:
    return 3, 1


@pytest.fixture
def job(tmp_path, monkeypatch) -> Job:
    """A job on 60 random images, with a source of random weights."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    rng = np.random.default_rng(0)
    for split, n in (("train", 40), ("test", 20)):
        datasets.save(datasets.IMAGES / "noise", split, rng.integers(0, 256, (n, 16, 16, 3), dtype=np.uint8), np.arange(n) % 4)
    torch.manual_seed(0)
    files.write_tensors(tmp_path / "source.safetensors", networks.build("small_resnet", 7, [0.5] * 3, [0.25] * 3).state_dict())
    return Job(
        "src",
        "noise",
        "small_resnet",
        4,
        "default",
        TRAINING,
        16,
        None,
        False,
        None,
        "aa",
        str(tmp_path / "source.safetensors"),
        ("bb", "cc"),
        1.0,
    )


SUBSETS = {"20_1": np.arange(20), "20_2": np.arange(20, 40), "30_1": np.arange(30)}


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
        {"training": TRAINING | {"lr": 0.06}},
        {"source_sha256": "dd"},
        {"target_sha256": ("bb", "dd")},
        {"training": TRAINING | {"frozen_batchnorm": "batch"}},
        {"image_size": 32},
        {"resolution": 8},
        {"augmented": True},
        {"moments": ([0.4] * 3, [0.2] * 3)},
    ],
)
def test_the_key_changes_with_all_that_decides_the_result(job, change):
    subset = SUBSETS["20_1"]
    assert replace(job, **change).key(CELL, subset) != job.key(CELL, subset)
    assert job.key(replace(CELL, seed=2), subset) != job.key(CELL, subset)
    assert job.key(replace(CELL, epochs=3), subset) != job.key(CELL, subset)
    assert job.key(replace(CELL, blocks=2), subset) != job.key(CELL, subset)
    assert job.key(CELL, subset[::-1]) != job.key(CELL, subset)


def test_names_and_places_decide_nothing(job):
    subset = SUBSETS["20_1"]
    moved = replace(job, source="other", target="elsewhere", weights="/other/path", cache_gib=0.0)
    assert moved.key(replace(CELL, source="other", target="elsewhere"), subset) == job.key(CELL, subset)


def computed(job, blocks):
    planned = grid.plan(job, blocks, SUBSETS, three_epochs)
    failed = [(cell, error) for cell, error in grid.compute(job, grid.missing(planned, set()), SUBSETS, set()) if error]
    assert not failed
    return planned


def test_the_pool_gives_what_a_serial_run_without_cached_activations_gives(job):
    planned = computed(job, [0, 1, 9, "all"])
    torch.set_num_threads(1)
    for cell in planned:
        expected = uncached(job, cell)
        found = cells.load("finetune", cell.key)["rows"]
        assert [r["test_accuracy"] for r in found] == [r.test_accuracy for r in expected], cell
        assert [r["train_loss"] for r in found] == pytest.approx([r.train_loss for r in expected], abs=1e-5)


def uncached(job, cell):
    """The plain run: every image through the whole network in every epoch, the frozen part in eval mode."""
    network = finetuning.start(job.architecture, files.read_tensors(job_path(job)), job.classes, job.head_init, cell.seed)
    frozen, trained = (torch.nn.Sequential(), network) if cell.blocks == "all" else networks.split(network, cell.blocks)
    for parameter in frozen.parameters():
        parameter.requires_grad_(False)

    class Whole(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.trained, self.frozen = trained, frozen

        def train(self, mode=True):
            super().train(mode)
            self.frozen.eval()
            return self

        def parameters(self, recurse=True):
            return self.trained.parameters(recurse)

        def forward(self, x):
            return self.trained(self.frozen(x))

    (train_x, train_y), (test_x, test_y) = (datasets.load("noise", part) for part in ("train", "test"))
    inputs = finetuning.Inputs(np.array(train_x), train_y, np.array(test_x), test_y)
    subset = SUBSETS[f"{cell.n_images}_{cell.seed}"]
    return list(finetuning.finetune(Whole(), inputs, subset, epochs=3, eval_every=1, seed=cell.seed, **job.training))


def job_path(job):
    return Path(job.weights)


def test_a_finished_cell_is_not_missing_and_a_damaged_one_is(job):
    planned = computed(job, [0])
    assert grid.missing(planned, set()) == []
    cells.path_of("finetune", planned[1].key).write_text('{"result": {"rows": []}, "digest": "no"}')
    warnings = []
    assert grid.missing(planned, set(), warnings.append) == [planned[1]]
    assert "damaged cell" in warnings[0]


def test_a_cell_that_must_hold_weights_and_does_not_is_missing(job):
    planned = computed(job, [0])
    assert grid.missing(planned, {planned[2].key}) == [planned[2]]
    assert not [error for _, error in grid.compute(job, [planned[2]], SUBSETS, {planned[2].key}) if error]
    assert grid.missing(planned, {planned[2].key}) == []
    assert {"head.weight", "head.bias", "normalise.mean"} <= set(cells.tensors("finetune", planned[2].key))


def test_a_cell_that_fails_stops_no_other(job):
    diverging = replace(job, training=TRAINING | {"lr": 1e30})
    planned = grid.plan(diverging, [0, 1], {"20_1": SUBSETS["20_1"]}, lambda n: (4, 1))
    outcomes = dict(grid.compute(diverging, planned, SUBSETS, set()))
    assert len(outcomes) == 2
    assert all(isinstance(error, FloatingPointError) for error in outcomes.values())


def test_activations_are_gone_when_the_grid_is_done(job):
    computed(job, [0, 1])
    assert not list(cells.folder("activations").iterdir())


def test_activations_of_a_grid_that_was_killed_are_swept_and_those_of_a_live_one_are_not(job):
    with subprocess.Popen([sys.executable, "-c", "pass"]) as ended:
        ended.wait()
    left, live = (grid.activations_of(pid) for pid in (ended.pid, os.getppid()))
    elsewhere = left.with_name(f"another-machine-{ended.pid}")
    for folder in (left, live, elsewhere):
        folder.mkdir(parents=True)
    grid.sweep_activations()
    assert not left.exists()
    assert live.exists()
    assert elsewhere.exists()


def test_the_most_expensive_cells_come_first(job):
    order = [(c.blocks, c.n_images) for c in grid.missing(grid.plan(job, [0, "all", 3], SUBSETS, three_epochs), set())]
    assert order == [("all", 30), ("all", 20), ("all", 20), (3, 30), (3, 20), (3, 20), (0, 30), (0, 20), (0, 20)]


def test_activations_that_do_not_fit_are_computed_again_to_the_same_rows(job, monkeypatch):
    written = []
    original = grid.pool.run_all
    monkeypatch.setattr(
        grid.pool,
        "run_all",
        lambda f, tasks, **k: written.extend(t for t in tasks if f is grid._write_activations) or original(f, tasks, **k),
    )
    planned = computed(job, [0, 1])
    assert {(blocks, part) for blocks, part, _ in written} == {(0, "train"), (0, "test"), (1, "train"), (1, "test")}
    expected = [cells.load("finetune", cell.key)["rows"] for cell in planned]
    for cell in planned:
        cells.discard("finetune", cell.key)
    written.clear()
    room = (64 * 4 * (40 + 20) + 100) / grid.GIB  # of the head's inputs: 64 floats for each of 40 and 20 images
    computed(replace(job, cache_gib=room), [0, 1])
    assert {(blocks, part) for blocks, part, _ in written} == {(0, "train"), (0, "test")}
    for cell, rows in zip(planned, expected, strict=True):
        found = cells.load("finetune", cell.key)["rows"]
        assert [r["test_accuracy"] for r in found] == [r["test_accuracy"] for r in rows]
        assert [r["train_loss"] for r in found] == pytest.approx([r["train_loss"] for r in rows], abs=1e-5)


def test_only_training_images_of_a_missing_cell_are_cached(job):
    planned = grid.plan(job, [0], SUBSETS, three_epochs)
    assert grid.rows_of(planned[1:2], SUBSETS, 0).tolist() == list(range(20, 40))
    assert grid.rows_of(planned[::2], SUBSETS, 0).tolist() == list(range(30))


@pytest.mark.parametrize(
    ("change", "cached"),
    [
        ({}, {"train", "test"}),
        ({"augmented": True}, {"test"}),
        ({"training": TRAINING | {"frozen_batchnorm": "adapted"}}, set()),
        ({"training": TRAINING | {"frozen_batchnorm": "batch"}}, set()),
    ],
)
def test_what_is_not_always_the_same_is_not_cached(job, change, cached):
    assert {part for part in ("train", "test") if replace(job, **change).cacheable(part)} == cached
