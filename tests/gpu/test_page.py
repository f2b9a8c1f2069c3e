"""The page of `make gpu`: without a GPU it measures the processor, at sizes of a test."""

import re

import pytest
import torch

from benchmarks import gpu

TINY = gpu.Scale("small_resnet", 16, 8, 16, 20, (1, 2), (0, 1, "all"), 3, 64, 1 << 16, 1)


@pytest.fixture(scope="module")
def lines() -> list[str]:
    return "\n".join(gpu.page(TINY)).splitlines()


def test_every_limit_part_and_run_has_a_row_with_its_rate(lines):
    rows = [re.split(r" *\| *", line)[1:-1] for line in lines if line.startswith("| ") and re.search(r"\d", line.split("|")[2])]
    assert [row[0] for row in rows] == [
        *(f"product of 64 x 64 matrices, {name}" for name in ("float32", "TF32", "bfloat16")),
        "copy within memory, read and written",
        "up-scaling, from 32 pixels", "augmentation", "frozen part of 3 blocks, batch statistics", "step of 3 blocks", "test, the whole network",
        "0 blocks, bfloat16", "1 blocks, bfloat16", "all blocks, bfloat16", "0, 1 blocks, one pass, bfloat16", "3 blocks, float32",
    ]  # fmt: skip
    assert lines[0].startswith("# small_resnet at 16 pixels on ")


def test_operations_are_those_of_the_layers():
    """Of the head alone: forward 2 x width x classes, backward as much for its weights; the frozen part once."""
    head, whole = (gpu.operations(TINY, (blocks,), torch.device("cpu")) for blocks in (0, "all"))
    [(_, network)] = gpu.parts_of(TINY, ("all",), torch.device("cpu"))
    linear = 2 * network.head.in_features * gpu.CLASSES
    forward = head - linear  # of the frozen part and of the head
    first = 2 * network.stem[0].weight.numel() * TINY.image_size**2  # the images have no gradient, all else is computed three times
    assert whole == pytest.approx(3 * forward - first, rel=0.02)


def test_operations_of_runs_that_share_a_pass_hold_the_frozen_part_once():
    device = torch.device("cpu")
    head, block, both = (gpu.operations(TINY, blocks, device) for blocks in ((0,), (1,), (0, 1)))
    networks = gpu.parts_of(TINY, (0, 1), device)
    frozen = gpu.FlopCounterMode(display=False)
    with frozen, torch.no_grad():
        networks[1][0](torch.zeros(1, 3, TINY.image_size, TINY.image_size))
    assert 2 * both == head + block - frozen.get_total_flops()
