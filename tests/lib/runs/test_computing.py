"""Computing cells: the pool gives what a serial loop gives, runs in company what they give alone, kept work is not done again."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from jobs import LOCAL, MANY, SUBSETS, TRAINING, batch, make_job, plan, three_epochs

from stages.lib.datasets import sets
from stages.lib.networks import units
from stages.lib.runs import activations, computing, grid
from stages.lib.runs.jobs import Batch, Job, Request
from stages.lib.runs.work import finetune, frozen
from stages.lib.store import cells, files
from stages.lib.training import finetuning


@pytest.fixture
def job(tmp_path, monkeypatch) -> Job:
    return make_job(tmp_path, monkeypatch)


def computed(job, blocks, settings=LOCAL):
    planned = grid.plan(job, blocks, SUBSETS, three_epochs)
    work = [(plan(job, planned, SUBSETS), grid.missing(planned, set()))]
    assert not [(cell, error) for cell, error in computing.compute(work, settings) if error]
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
    frozen, trained = (torch.nn.Sequential(), network) if cell.blocks == "all" else units.split(network, cell.blocks)
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

    (train_x, train_y), (test_x, test_y) = (sets.read(sets.IMAGES / "noise", split) for split in ("train", "test"))
    inputs = finetuning.Inputs(np.array(train_x), train_y, np.array(test_x), test_y)
    subset = SUBSETS[cell.subset]
    return list(finetuning.finetune(Whole(), inputs, subset, epochs=3, eval_every=1, lr=cell.lr, seed=cell.seed, **job.training))


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
    assert not [error for _, error in computing.compute([(plan(job, planned, SUBSETS, [planned[2]]), [planned[2]])], LOCAL) if error]
    assert grid.missing(planned, {planned[2].key}) == []
    assert {"head.weight", "head.bias", "normalise.mean"} <= set(cells.tensors("finetune", planned[2].key))


def test_a_cell_that_fails_stops_no_other(job):
    """A worker that finds no weights fails; it does so for each cell, and the others are kept."""
    planned = computed(job, ["all"])
    lost = replace(job, weights="nowhere.safetensors", source_sha256="dd")
    absent = grid.plan(lost, ["all"], SUBSETS, three_epochs)
    outcomes = dict(computing.compute([(plan(lost, absent, SUBSETS), absent), (plan(job, planned, SUBSETS), planned)], LOCAL))
    assert len(outcomes) == len(absent) + len(planned)
    assert {cell.key for cell, error in outcomes.items() if error is not None} == {cell.key for cell in absent}
    assert all("the file is missing" in str(outcomes[cell]) for cell in absent)


def test_a_run_that_diverges_is_a_result(job):
    diverging = replace(job, rates=(1e38,))
    planned = grid.plan(diverging, [0, 1], {"20_1": SUBSETS["20_1"]}, three_epochs)
    outcomes = dict(computing.compute([(plan(diverging, planned, SUBSETS, planned), planned)], LOCAL))
    assert list(outcomes.values()) == [None, None]
    for cell in planned:
        last = cells.load("finetune", cell.key)["rows"][-1]
        assert (last["epoch"], last["train_loss"], last["diverged"], last["test_accuracy"]) == (3, None, True, 25.0)
        assert not cells.tensors("finetune", cell.key)["head.weight"].isfinite().all()
    assert grid.missing(planned, {cell.key for cell in planned}) == []


# Batches: runs that differ by seed alone, trained together


@pytest.mark.parametrize("blocks", [0, 1, 3])
def test_a_run_in_company_is_the_run_alone(job, blocks, monkeypatch):
    planned = grid.plan(job, [blocks], MANY, three_epochs)
    assert not [error for _, error in computing.compute([(plan(job, planned, MANY, planned), planned)], LOCAL) if error]
    monkeypatch.setattr(grid, "TOGETHER", 1)
    alone = grid.plan(job, [blocks], MANY, three_epochs)
    assert {cell.together for cell in alone} == {1}
    assert not [error for _, error in computing.compute([(plan(job, alone, MANY, alone), alone)], LOCAL) if error]
    for one, other in zip(planned, alone, strict=True):
        found, expected = (cells.load("finetune", cell.key)["rows"] for cell in (one, other))
        assert [row["epoch"] for row in found] == [row["epoch"] for row in expected] == [1, 2, 3]
        assert [row["train_loss"] for row in found] == pytest.approx([row["train_loss"] for row in expected], rel=1e-5, abs=1e-5)
        weights, others = cells.tensors("finetune", one.key), cells.tensors("finetune", other.key)
        assert weights.keys() == others.keys()
        assert all(torch.allclose(weights[name].float(), others[name].float(), atol=1e-4) for name in weights)


def test_a_run_is_the_same_to_the_bit_in_whatever_company_and_place(job):
    """So that a cell does not depend on which other seeds a study has."""
    shifted = {name: MANY[name] for name in list(MANY)[2:]}
    found = {}
    for subsets in (MANY, shifted):
        planned = grid.plan(job, [0, 1, 3], subsets, three_epochs)
        for members in grid.batches(job, planned):
            task = batch(job, members, subsets)
            for request, (rows, _) in zip(task.requests, finetune.run(task), strict=True):
                cell = request.cell
                found.setdefault((cell.key, cell.blocks, cell.seed), []).append(rows)
    twice = {place[1:]: rows for place, rows in found.items() if len(rows) == 2}
    assert {seed for _, seed in twice} == {2, 3, 4}
    assert all(first == second for first, second in twice.values())


def test_a_batch_is_computed_as_a_whole_and_only_what_is_absent_is_kept(job):
    planned = grid.plan(job, [1], MANY, three_epochs)
    list(computing.compute([(plan(job, planned, MANY), planned)], LOCAL))
    before = {cell.key: cells.path_of("finetune", cell.key).read_bytes() for cell in planned}
    cells.discard("finetune", planned[3].key)
    times = {cell.key: cells.path_of("finetune", cell.key).stat().st_mtime_ns for cell in planned if cell != planned[3]}
    assert [cell for cell, _ in computing.compute([(plan(job, planned, MANY), grid.missing(planned, set()))], LOCAL)] == [planned[3]]
    rows = [cells.load("finetune", cell.key)["rows"] for cell in planned]
    assert rows[3] == files.json.loads(before[planned[3].key])["result"]["rows"]
    assert {key: cells.path_of("finetune", key).stat().st_mtime_ns for key in times} == times


@pytest.mark.parametrize("blocks", [0, 1, 3])
@pytest.mark.parametrize("spoilt", ["weights", "images"])
def test_a_run_that_diverges_leaves_its_company_alone_to_the_bit(job, blocks, spoilt):
    """Beside a network of NaN, or one that is given infinite images, the others have the weights that they have beside a sound one."""
    held = np.concatenate(list(frozen.activations(job, blocks, "train", None)))
    held = np.concatenate([held, np.full_like(held[:1], np.inf)])  # row 40, which no subset has
    inputs = finetuning.Inputs(
        held, np.append(sets.read(sets.IMAGES / "noise", "train")[1], 0), held[:20], sets.read(sets.IMAGES / "noise", "test")[1]
    )

    def trained(is_spoilt):
        runs = []
        for seed, (name, rows) in enumerate(list(MANY.items())[:5]):
            network = units.split(finetuning.start("small_resnet", files.read_tensors(job_path(job)), 4, "default", seed), blocks)[1]
            this = spoilt if is_spoilt and name == "16_2" else "nothing"
            for weight in network.parameters() if this == "weights" else ():
                weight.data.fill_(torch.nan)
            runs.append(finetuning.FineTuning(network, np.append(rows[:-1], 40) if this == "images" else rows, seed))
        *_, last = finetuning.finetune_together(runs, inputs, epochs=3, eval_every=1, lr=0.05, **TRAINING)
        return last, [run.network.state_dict() for run in runs]

    (sound, weights), (found, others) = trained(False), trained(True)
    assert [row.diverged for row in sound] == [False] * 5
    assert [row.diverged for row in found] == [False, False, True, False, False]
    for i in (0, 1, 3, 4):
        assert found[i] == sound[i]
        assert all(torch.equal(weights[i][name], others[i][name]) for name in weights[i])


# Activations


def entries(job, blocks):
    return {(b, split): activations.entry_of(job, b, split, n, np.arange(n)) for b in blocks for split, n in (("train", 40), ("test", 20))}


def test_activations_are_kept_and_computed_once(job):
    computed(job, [0, 1])
    kept = entries(job, [0, 1])
    assert all(activations.is_kept(entry) for entry in kept.values())
    written = {place: entry.path.stat().st_ino for place, entry in kept.items()}
    for cell in grid.plan(job, [0, 1], SUBSETS, three_epochs):
        cells.discard("finetune", cell.key)
    computed(replace(job, rates=(0.01,)), [0, 1])
    assert {place: entry.path.stat().st_ino for place, entry in kept.items()} == written


@pytest.mark.parametrize("damage", [lambda path: path.write_bytes(path.read_bytes()[:-4] + b"\0\0\0\1"), Path.unlink])
def test_damaged_activations_are_computed_again(job, damage):
    planned = computed(job, [1])
    expected = [cells.load("finetune", cell.key)["rows"] for cell in planned]
    whole = entries(job, [1])[1, "train"].path.read_bytes()
    damage(entries(job, [1])[1, "train"].path)
    for cell in planned:
        cells.discard("finetune", cell.key)
    computed(job, [1])
    assert entries(job, [1])[1, "train"].path.read_bytes() == whole
    assert [cells.load("finetune", cell.key)["rows"] for cell in planned] == expected


def test_the_most_expensive_batches_come_first(job):
    planned = grid.plan(job, [0, "all", 3], SUBSETS, three_epochs)
    tasks = [batch(job, members, SUBSETS) for members in grid.batches(job, planned)]
    order = [(t.requests[0].cell.blocks, t.requests[0].cell.n_images) for t in sorted(tasks, key=computing.cost, reverse=True)]
    assert order == [("all", 30), ("all", 20), ("all", 20), (3, 30), (3, 20), (3, 20), (0, 30), (0, 20), (0, 20)]


def test_plans_of_few_batches_are_computed_side_by_side_and_one_of_many_alone(job, monkeypatch):
    planned = grid.plan(job, ["all"], SUBSETS, three_epochs)
    few = plan(job, planned, SUBSETS)
    batches = len(grid.batches(job, planned))
    monkeypatch.setattr(computing, "ENOUGH", 2 * batches)
    sizes = lambda work, processes: [len(together) for together in computing.rounds(work, processes)]  # noqa: E731
    assert sizes([(few, planned)] * 5, 1) == [2, 2, 1]
    assert sizes([(few, planned)] * 5, 2) == [4, 1]
    assert sizes([(few, planned[:1])] * 3 + [(few, planned)] * 2, 1) == [4, 1], "what is in the store counts nothing"
    monkeypatch.setattr(computing, "ENOUGH", batches)
    assert sizes([(few, planned)] * 3, 1) == [1, 1, 1]


def test_results_of_plans_side_by_side_are_those_of_each_alone(job):
    jobs = [replace(job, rates=(rate,)) for rate in (0.05, 0.01)]
    planned = [grid.plan(one, [0, 1, "all"], SUBSETS, three_epochs) for one in jobs]
    alone = []
    for one, of_job in zip(jobs, planned, strict=True):
        assert not [error for _, error in computing.compute([(plan(one, of_job, SUBSETS), of_job)], LOCAL) if error]
        alone += [cells.load("finetune", cell.key)["rows"] for cell in of_job]
    for cell in [*planned[0], *planned[1]]:
        cells.discard("finetune", cell.key)
    work = [(plan(one, of_job, SUBSETS), of_job) for one, of_job in zip(jobs, planned, strict=True)]
    assert [len(together) for together in computing.rounds(work, 1000)] == [2]
    assert {cell.key for cell, error in computing.compute(work, LOCAL) if error is None} == {c.key for of_job in planned for c in of_job}
    assert [cells.load("finetune", cell.key)["rows"] for of_job in planned for cell in of_job] == alone


def test_activations_that_do_not_fit_are_computed_again_to_the_same_rows(job):
    planned = computed(job, [0, 1])
    expected = [cells.load("finetune", cell.key)["rows"] for cell in planned]
    for cell in planned:
        cells.discard("finetune", cell.key)
    for entry in entries(job, [0, 1]).values():
        cells.discard("activations", entry.key)
    room = (64 * 4 * (40 + 20) + 1000) / computing.GIB  # of the head's inputs: 64 floats for each of 40 and 20 images
    computed(job, [0, 1], LOCAL.model_copy(update={"cache_gib": room}))
    assert {place for place, entry in entries(job, [0, 1]).items() if activations.is_kept(entry)} == {(0, "train"), (0, "test")}
    for cell, rows in zip(planned, expected, strict=True):
        found = cells.load("finetune", cell.key)["rows"]
        assert [r["test_accuracy"] for r in found] == [r["test_accuracy"] for r in rows]
        assert [r["train_loss"] for r in found] == pytest.approx([r["train_loss"] for r in rows], abs=1e-5)


def test_the_views_of_an_image_are_kept_once_for_runs_of_all_seeds_and_sizes_and_change_no_result(job):
    viewed = replace(job, augmentation="crop_flip", views=3)
    planned = computed(viewed, [1])
    entry = activations.entry_of(viewed, 1, "train", 40, np.arange(40))
    held = entry.stored.load()
    assert len(held) == entry.n_rows(40) == 3 * 40
    assert not np.allclose(held[0::3], held[1::3])
    assert entry.key != entries(job, [1])[1, "train"].key
    assert entries(job, [1])[1, "test"].key == entries(viewed, [1])[1, "test"].key
    for cell in planned:
        expected = cells.load("finetune", cell.key)["rows"]
        [(rows, _)] = finetune.run(batch(viewed, [cell], SUBSETS))  # nothing is kept
        assert [r["train_loss"] for r in rows] == pytest.approx([r["train_loss"] for r in expected], abs=1e-5)
    plain = replace(job, augmentation="crop_flip")
    [(rows, _)] = finetune.run(batch(plain, grid.plan(plain, [1], SUBSETS, three_epochs)[2:], SUBSETS))
    assert [r["train_loss"] for r in rows] != pytest.approx([r["train_loss"] for r in expected], abs=1e-3)


def test_views_of_a_part_of_the_images_are_found_and_held_out_images_are_not_augmented(job):
    viewed, chosen, held = replace(job, augmentation="crop_flip", views=2), np.array([30, 4, 17, 9]), np.array([5, 22])
    entry = activations.entry_of(viewed, 1, "train", 40, np.concatenate([chosen, held]))
    assert (entry.rows.tolist(), entry.n_rows(40)) == ([4, 5, 9, 17, 22, 30], 12)
    computing._write((viewed, entry, (12, *computing._activation_of_one((viewed, entry)).shape)))
    [cell] = grid.plan(viewed, [1], {"4_1": chosen}, three_epochs)
    asked = Request(cell, chosen, held)
    (kept, _), (anew, _) = (finetune.run(Batch(viewed, [asked], stored))[0] for stored in ({"train": entry.stored}, {}))
    for name in ("train_loss", "validation_accuracy", "test_accuracy"):
        assert [row[name] for row in kept] == pytest.approx([row[name] for row in anew], abs=1e-5)


def test_activations_that_were_removed_while_the_grid_runs_are_missed_by_no_one(job):
    planned = grid.plan(job, [1], SUBSETS, three_epochs)
    gone = entries(job, [1])
    stored = {split: gone[1, split].stored for split in ("train", "test")}
    [(rows, _)] = finetune.run(batch(job, planned[:1], SUBSETS, stored))
    assert rows[-1]["train_loss"] == pytest.approx(uncached(job, planned[0])[-1].train_loss, abs=1e-5)
