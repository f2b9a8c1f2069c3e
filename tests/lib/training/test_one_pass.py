"""Runs on the same images that differ in blocks and learning rate: with one pass of the images each is, to the bit, the run alone."""

from dataclasses import replace

import numpy as np
import pytest
import timm_tiny  # noqa: F401 - enters tiny networks in timm's registry
import torch
from jobs import LOCAL, SUBSETS, TRAINING, make_job, plan, three_epochs

from stages.lib.choice import module_of
from stages.lib.networks import inference, units
from stages.lib.networks.architectures import BLOCKS
from stages.lib.networks.families.table import FAMILIES
from stages.lib.networks.layers import cuts, nested
from stages.lib.networks.names import known
from stages.lib.runs import computing, grid
from stages.lib.runs.jobs import Job
from stages.lib.store import cells
from stages.lib.training import finetuning

SETTINGS = {"epochs": 2, "eval_every": 1, "batch_size": 4, "momentum": 0.9, "weight_decay": 5e-4, "frozen_batchnorm": "batch"}
SIDE, N = 32, 8


def images() -> finetuning.Inputs:
    rng = np.random.default_rng(0)
    x, y = rng.integers(0, 256, (N + 4, SIDE, SIDE, 3), np.uint8), np.arange(N + 4) % 4
    return finetuning.Inputs(x, y, x[:4], y[:4])


def started(architecture: str) -> torch.nn.Sequential:
    """A network with weights and a head that are always the same."""
    return finetuning.start(known(architecture), None, 4, "default", seed=3)


def run(frozen, trained) -> finetuning.FineTuning:
    return finetuning.FineTuning(trained, np.arange(N), 3, frozen, np.arange(N, N + 4))


@pytest.mark.parametrize(
    ("architecture", "blocks", "augmentation"),
    [
        ("small_resnet", (0, 1, 3, 1), "none"),
        ("small_resnet", (0, 1, 3, 1), "crop_flip"),
        ("small_resnet", (0, 1, 3, 1), "published"),
        ("resnet18", (8, 1, 0), "published"),
        ("densenet161", (0, 3), "none"),
        ("shufflenet_v2_x1_0", (2, 0), "none"),
        ("wide_resnet34_1", (0, 4), "none"),
        ("timm/tiny_swin", (0, 1), "none"),  # which timm itself builds with stochastic depth
        ("timm/tiny_resnet", (2, 0), "none"),
    ],
)
def test_a_run_that_shares_a_pass_is_the_run_alone_to_the_bit(architecture, blocks, augmentation):
    view, rates = inference.View(SIDE, augmentation=augmentation), [0.1 / 2**i for i in range(len(blocks))]
    networks = [started(architecture) for _ in blocks]
    runs = [run(*parts) for parts in nested.cut(networks, blocks)]
    together = list(finetuning.finetune_together(runs, images(), **SETTINGS, lr=rates, view=view, one_pass=True))
    for i, (count, lr) in enumerate(zip(blocks, rates, strict=True)):
        alone = started(architecture)
        rows = list(finetuning.finetune_together([run(*cuts.cut(alone, count))], images(), **SETTINGS, lr=lr, view=view))
        assert [row[i] for row in together] == [row for [row] in rows]
        weights, shared = alone.state_dict(), networks[i].state_dict()
        assert weights.keys() == shared.keys()
        assert all(torch.equal(weights[name], shared[name]) for name in weights), "statistics of the frozen part, too"
    assert len({row.train_loss for row in together[-1]}) == len(blocks), "so that it is not one run again and again"


def test_images_pass_the_longest_frozen_part_once():
    networks = [started("small_resnet") for _ in range(3)]
    parts = nested.cut(networks, (1, 0, 3))
    passed = []
    for network in networks:
        for name, unit in network.named_children():
            unit.register_forward_hook(lambda module, inputs, output, name=name: passed.append(name))
    list(finetuning.finetune_together(
        [run(*each) for each in parts], images(), **SETTINGS | {"epochs": 1, "batch_size": N},
        lr=[0.1] * 3, view=inference.View(SIDE), one_pass=True,
    ))  # fmt: skip
    passes = {name: passed.count(name) for name in dict.fromkeys(passed)}
    [each] = {passes[name] for name in ("head", "pool")}
    assert each == 3 * 3, "a step and two tests of each run: on the test images and on those that are held out"
    assert passes["normalise"] == passes["stem"] == 3 * 3, "hooks of the three networks on a unit that they have in common"
    assert networks[0].stem is networks[1].stem is networks[2].stem


@pytest.mark.parametrize("architecture", [name for name in BLOCKS if module_of(FAMILIES, name, "architecture").STACKED_BLOCKS is not None])
def test_networks_that_draw_at_random_share_no_pass(architecture):
    with torch.device("meta"):
        network = units.build(architecture, 3, [0.5] * 3, [0.5] * 3)
    drawing = [name for name, module in network.named_modules() if "Drop" in type(module).__name__ or "Stochastic" in type(module).__name__]
    assert not drawing


# In the grid


@pytest.fixture
def job(tmp_path, monkeypatch) -> Job:
    return replace(make_job(tmp_path, monkeypatch), training=TRAINING | {"frozen_batchnorm": "batch"}, rates=(0.05, 0.01))


def test_blocks_and_rates_of_a_subset_are_a_batch(job):
    planned = grid.plan(
        job, [0, 3, "all", "last_norm"], SUBSETS, three_epochs, {"20_1": np.arange(4)} | {n: np.arange(20, 24) for n in SUBSETS}
    )
    found = grid.batches(job, planned)
    assert sorted(map(len, found)) == [1] * 2 * 2 * 2 * 3 + [4] * 2 * 3, "held out or not, of two settings by themselves and two in company"
    assert sorted(cell.key for batch in found for cell in batch) == sorted(cell.key for cell in planned)
    for batch in found:
        assert len({(cell.n_images, cell.seed, cell.held_out) for cell in batch}) == 1
        assert len(batch) == 1 or {(cell.blocks, cell.lr) for cell in batch} == {(b, lr) for b in (0, 3) for lr in (0.05, 0.01)}
    kept = replace(job, training=TRAINING)
    assert all(len({cell.blocks for cell in batch}) == 1 for batch in grid.batches(kept, grid.plan(kept, [0, 3], SUBSETS, three_epochs)))
    dropping = replace(job, architecture="vgg16_bn")
    assert {len(batch) for batch in grid.batches(dropping, grid.plan(dropping, [0, 3], SUBSETS, three_epochs))} == {1}


def test_cells_have_the_same_results_with_one_pass_and_alone(job, monkeypatch):
    planned = grid.plan(job, [0, 1], {"20_1": SUBSETS["20_1"]}, three_epochs)

    def results(absent):
        assert not [error for _, error in computing.compute([(plan(job, planned, SUBSETS, planned), absent)], LOCAL) if error]
        return {cell.key: (cells.load("finetune", cell.key)["rows"], cells.tensors("finetune", cell.key)) for cell in absent}

    together = results(planned)
    assert len(together) == 4
    for cell in planned:
        cells.discard("finetune", cell.key)
    monkeypatch.setattr(grid, "shares_pass", lambda job, blocks: False)
    for key, (rows, weights) in results(planned).items():
        assert rows == together[key][0]
        assert all(torch.equal(weights[name], together[key][1][name]) for name in weights)


def test_of_a_shared_pass_only_absent_cells_are_computed_and_spread_over_processes(job):
    planned = grid.plan(job, [0, 1, 3], SUBSETS, three_epochs)
    of_plan, wanted = plan(job, planned, SUBSETS), {cell.key for cell in planned if cell.blocks != 1 and cell.seed == 1}
    assert len(wanted) == 2 * 2 * 2
    for processes, sizes in ((1, [4, 4]), (2, [4, 4]), (3, [2, 2, 4]), (4, [2, 2, 2, 2]), (99, [1] * 8)):
        begun = computing.begun_of(of_plan, wanted, processes)
        assert sorted(map(len, begun)) == sizes
        assert {cell.key for batch in begun for cell in batch} == wanted


def test_what_shares_a_pass_is_not_compiled(monkeypatch):
    """It would be slower (docs/gpu.md); a run alone is, whether it could share a pass or not."""
    fused = []
    monkeypatch.setattr(inference, "fuse", lambda *networks: fused.append(len(networks)))
    for blocks, expected in (((0, 1), []), ((1,), [2])):
        runs = [run(*parts) for parts in nested.cut([started("small_resnet") for _ in blocks], blocks)]
        list(finetuning.finetune_together(runs, images(), **SETTINGS, lr=0.1, view=inference.View(SIDE, fused=True), one_pass=True))
        assert fused == expected
